import Testing

@testable import irqmux

@Suite("info")
struct InfoTests {
    @Test("the JSON is irqmux.info/1 and tells every index with its flags")
    func json() throws {
        let run = try CommandProcess.run("info", "--format", "json", "--device", "software:msix=128,msi=8,intx=1")
        #expect(run.status == 0)
        let object = try run.object()
        #expect(Set(object.keys) == ["schema", "device", "identity", "indexes"])
        #expect(object["schema"] as? String == "irqmux.info/1")
        #expect(object["device"] as? String == "software:msix=128,msi=8,intx=1")
        let identity = try #require(object["identity"] as? [String: String])
        #expect(identity["kind"] == "software" && identity["magic"] == "IRQX")
        let indexes = try #require(object["indexes"] as? [[String: Any]])
        #expect(indexes.map { $0["index"] as? String } == ["intx", "msi", "msix", "err", "req"])
        #expect(indexes.map { $0["count"] as? Int } == [1, 8, 128, 1, 1])
        #expect(indexes.map { $0["number"] as? Int } == [0, 1, 2, 3, 4])
        for index in indexes {
            #expect(index["eventfd"] as? Bool == true)
            #expect(index["maskable"] as? Bool == (index["index"] as? String == "intx"))
            #expect(index["automasked"] as? Bool == (index["index"] as? String == "intx"))
        }
    }

    @Test("a device without an index says 0 vectors")
    func absent() throws {
        let run = try CommandProcess.run("info", "--device", "software:msi=0,intx=0,msix=1")
        #expect(run.status == 0)
        let rows = run.output.split(separator: "\n").map { $0.split(separator: " ") }
        #expect(rows.contains { $0.first == "MSI" && $0.dropFirst().first == "0" })
        #expect(rows.contains { $0.first == "INTx" && $0.dropFirst().first == "0" })
        #expect(rows.contains { $0.first == "MSI-X" && $0.dropFirst().first == "1" })
    }

    @Test("a device that this build cannot drive ends with status 69")
    func unavailable() throws {
        #expect(try CommandProcess.run("info", "--device", "0000:01:00.0").status == 69)
    }
}
