import EventRing
import InterruptModel
import Testing
import VFIO

@testable import irqmux

@Suite("Device names, assertions and requests")
struct NameParsingTests {
    @Test("the software device has a default layout, and each part of it can be given")
    func softwareDevice() throws {
        #expect(try DeviceName(parsing: "software") == .software(SoftwareLayout(msix: 64, msi: 32, intx: 1)))
        #expect(
            try DeviceName(parsing: "software:msix=2048,msi=8,intx=0")
                == .software(SoftwareLayout(msix: 2048, msi: 8, intx: 0)))
        #expect(try DeviceName(parsing: "software:msi=1") == .software(SoftwareLayout(msix: 64, msi: 1, intx: 1)))
    }

    @Test("a device name prints as a name that reads back as the same device")
    func roundTrip() throws {
        for text in [
            "software:msix=5,msi=16,intx=0", "0000:01:00.0", "10000:ff:1f.7",
            "0000:01:00.1,vf_token=83b8f4f2-509f-382f-3c1e-e6bfe0fa1001",
            "mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "vfio-user:/run/device.sock",
        ] {
            let name = try DeviceName(parsing: text)
            #expect(name.description == text)
            #expect(try DeviceName(parsing: name.description) == name)
        }
        #expect(try DeviceName(parsing: "01:00.0") == .pci(PCIAddress(bus: 1, device: 0, function: 0)))
        #expect(try DeviceName(parsing: "0000:C1:0A.1") == .pci(PCIAddress(bus: 0xc1, device: 10, function: 1)))
    }

    @Test(
        "a malformed device name or an impossible layout is refused",
        arguments: [
            "", "hardware", "software:", "software:msix", "software:msix=", "software:msix=2049", "software:msi=33",
            "software:msi=3", "software:intx=2", "software:msix=-1", "software:msix=+1", "software:msix=1,msix=2",
            "software:foo=1", "software:msix=0,msi=0,intx=0", "software:msix=1,", "0000:01:00", "0000:01:00.8",
            "0000:01:20.0", "000:01:00.0", "0000:1:00.0", "0000:01:0g.0", "mdev:", "mdev:123", "mdev",
            "mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa100z", "vfio-user:", "vfio-user:relative.sock",
        ])
    func refused(text: String) {
        #expect(throws: UsageError.self) { try DeviceName(parsing: text) }
    }

    @Test("a socket path that no sockaddr_un holds is refused")
    func longSocketPath() throws {
        let fits = "vfio-user:/" + String(repeating: "a", count: 106)
        #expect(try DeviceName(parsing: fits) == .vfioUser(path: String(fits.dropFirst("vfio-user:".count))))
        #expect(throws: UsageError.self) { try DeviceName(parsing: fits + "a") }
    }

    @Test("what asks for a layout refuses a device that has its own")
    func noLayout() throws {
        let name = try DeviceName(parsing: "0000:01:00.0")
        let wrong = #expect(throws: UsageError.self) { try name.softwareLayout() }
        #expect(wrong?.description.contains("accepted: software:msix=") == true)
    }

    @Test("an assertion names a figure, compares, and bounds it")
    func assertions() throws {
        let p99 = try Assertion(parsing: "p99<20us")
        #expect(p99.metric == .percentile(99) && p99.comparison == .below && p99.bound == 20_000)
        let fine = try Assertion(parsing: "p99.99 <= 1.5ms")
        #expect(fine.metric == .percentile(99.99) && fine.comparison == .atMost && fine.bound == 1_500_000)
        #expect(fine.description == "p99.99<=1.5ms")
        #expect(try Assertion(parsing: "lost<1").bound == 1)
        #expect(try Assertion(parsing: "coalesced<=10k").bound == 10_000)
        #expect(try Assertion(parsing: "mean>1ns").comparison == .above)
        #expect(try Assertion(parsing: "min>=1ns").comparison == .atLeast)
    }

    @Test(
        "an assertion that cannot be checked is refused and told what is accepted",
        arguments: [
            "", "p99", "p99<", "p99=20us", "p99<20", "p0<1us", "p101<1us", "p<1us", "q99<1us", "lost<1us", "<20us",
            "p99<<20us", "p99=<20us", "max<1 fortnight",
        ])
    func refusedAssertions(text: String) {
        let error = #expect(throws: UsageError.self) { try Assertion(parsing: text) }
        #expect(error?.description.contains("accepted:") == true)
    }

    @Test("an assertion holds or is breached by what was measured")
    func assertionVerdicts() throws {
        let histogram = Histogram()
        for value in 1...100 { histogram.record(UInt64(value)) }
        let snapshot = histogram.snapshot()
        func holds(_ text: String, lost: UInt64 = 0) throws -> Bool {
            let assertion = try Assertion(parsing: text)
            return assertion.holds(assertion.measured(latency: snapshot, lost: lost, coalesced: 7))
        }
        #expect(try holds("p50<=50ns"))
        #expect(try !holds("p50<50ns"))
        #expect(try holds("max<=100ns"))
        #expect(try !holds("min>1ns"))
        #expect(try holds("mean<51ns"))
        #expect(try holds("lost<1"))
        #expect(try !holds("lost<1", lost: 1))
        #expect(try holds("coalesced>=7"))
        #expect(try Assertion(parsing: "p50<50ns").verdict(50) == "breached: p50<50ns, measured 50 ns")
        #expect(try Assertion(parsing: "lost<1").verdict(0) == "held: lost<1, measured 0")
    }

    @Test("a latency that nobody measured keeps within no bound")
    func nothingMeasured() throws {
        let assertion = try Assertion(parsing: "p99<1s")
        let measured = assertion.measured(latency: HistogramSnapshot(), lost: 0, coalesced: 0)
        #expect(measured == nil)
        #expect(!assertion.holds(measured))
    }

    @Test("a request is read with start, count and values")
    func requests() throws {
        func request(_ text: String) throws -> IRQRequest { try RequestArgument(parsing: text).request }
        #expect(try request("intx:mask:none") == IRQRequest(.intx, .mask, .none(count: 1)))
        #expect(try request("msi:trigger:none@0x0") == IRQRequest(.msi, .trigger, .none(count: 0)))
        #expect(try request("msix:trigger:none@3x2") == IRQRequest(.msix, .trigger, start: 3, .none(count: 2)))
        #expect(
            try request("msix:trigger:bool@1=1,0,255") == IRQRequest(.msix, .trigger, start: 1, .bool([1, 0, 255])))
        #expect(try request("req:trigger:eventfd=-1") == IRQRequest(.req, .trigger, .eventfd([-1])))
        #expect(try request("err:trigger:eventfdx3") == IRQRequest(.err, .trigger, .eventfd([3, 4, 5])))
        #expect(RequestArgument.lookUp(7) == .eventFD(identity: 7))
        #expect(RequestArgument.lookUp(RequestArgument.closedNumber) == .notOpen)
    }

    @Test(
        "a malformed request is refused",
        arguments: [
            "", "msix", "msix:trigger", "pci:trigger:none", "msix:raise:none", "msix:trigger:word",
            "msix:trigger:none=1", "msix:trigger:none@x", "msix:trigger:none@0x", "msix:trigger:nonex-1",
            "msix:trigger:bool=256", "msix:trigger:bool=", "msix:trigger:eventfd=a", "msix:trigger:eventfdx5000",
            "msix:trigger:eventfd=2147483647", "msix:trigger:none@4294967296", "msix:trigger:none:1",
        ])
    func refusedRequests(text: String) {
        #expect(throws: UsageError.self) { try RequestArgument(parsing: text) }
    }
}
