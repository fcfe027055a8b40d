import Testing
import VFIO

@Suite("names of devices")
struct NameTests {
    @Test(
        "PCI addresses are read with and without domain, in either case",
        arguments: [
            ("0000:01:00.0", "0000:01:00.0"), ("01:00.0", "0000:01:00.0"), ("0000:FF:1f.7", "0000:ff:1f.7"),
            ("abcd:00:1F.3", "abcd:00:1f.3"), ("10000:e1:00.0", "10000:e1:00.0"), ("00000001:00:00.1", "0001:00:00.1"),
        ])
    func addresses(text: String, canonical: String) throws {
        let address = try #require(PCIAddress(parsing: text.utf8))
        #expect(address.description == canonical)
        #expect(PCIAddress(parsing: canonical.utf8) == address)
    }

    @Test(
        "what is no PCI address is none",
        arguments: [
            "", "0", "01:00", "1:00.0", "01:0.0", "01:00.8", "01:20.0", "01:00.00", "01.00:0", "0000:01:00:0",
            "000:01:00.0", "0000:01:00.0 ", "0000:01:00.0.0", "g000:01:00.0", "000000000:01:00.0", "01:00.", ":::.",
            "0000:01:00.0:", "0000:001:00.0", "１:00.0",
        ])
    func badAddresses(text: String) { #expect(PCIAddress(parsing: text.utf8) == nil) }

    @Test("addresses sort by domain, bus, device and function")
    func order() {
        let texts = ["0001:00:00.0", "0000:00:1f.7", "0000:00:02.0", "0000:00:02.1", "0000:10:00.0"]
        let sorted = texts.compactMap { PCIAddress(parsing: $0.utf8) }.sorted().map(\.description)
        #expect(sorted == ["0000:00:02.0", "0000:00:02.1", "0000:00:1f.7", "0000:10:00.0", "0001:00:00.0"])
    }

    @Test("UUIDs are read in either case and written as the kernel does")
    func uuids() throws {
        let uuid = try #require(UUIDBytes(parsing: "83B8F4F2-509f-382f-3c1e-e6bfe0fa1001".utf8))
        #expect(uuid.description == "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001")
        #expect(uuid.bytes.first == 0x83 && uuid.bytes.last == 0x01)
    }

    @Test(
        "what is no UUID is none",
        arguments: [
            "", "83b8f4f2", "83b8f4f2-509f-382f-3c1e-e6bfe0fa100", "83b8f4f2-509f-382f-3c1e-e6bfe0fa10011",
            "83b8f4f2509f-382f-3c1e-e6bfe0fa1001-", "83b8f4f2-509f-382f-3c1e-e6bfe0fa100g",
            "../../../../etc/passwd-or-so-and-on-", "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001\n",
        ])
    func badUUIDs(text: String) { #expect(UUIDBytes(parsing: text.utf8) == nil) }
}
