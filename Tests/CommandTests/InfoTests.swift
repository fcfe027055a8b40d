import Testing

@testable import irqmux

@Suite("info")
struct InfoTests {
    @Test("the JSON is irqmux.info/1 and tells every index with its flags")
    func json() throws {
        let run = try CommandProcess.run("info", "--format", "json", "--device", "software:msix=128,msi=8,intx=1")
        #expect(run.status == 0)
        let object = try run.object()
        #expect(Set(object.keys) == ["schema", "device", "identity", "indexes", "paths"])
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

    @Test(
        "a device that is not there ends with status 69 and one line that names it",
        arguments: ["fffe:ff:1f.7", "mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"], ["info", "loopback", "latency"])
    func absent(device: String, command: String) throws {
        let path = command == "latency" ? ["--path", "loopback"] : []
        let run = try CommandProcess.run([command, "--device", device] + path)
        #expect(run.status == 69 && run.output.isEmpty && run.diagnosticLines.count == 1)
        #expect(run.diagnostics.contains("\(device): finding the IOMMU group: ENODEV: there is no such device"))
    }

    private func paths(_ arguments: String...) throws -> [[String: Any]] {
        let run = try CommandProcess.run(["info", "--format", "json"] + arguments)
        #expect(run.status == 0, "\(run.diagnostics)")
        return try #require(try run.object()["paths"] as? [[String: Any]])
    }

    @Test("vectors that nobody is connected to go nowhere, and info says why")
    func notConnected() throws {
        let paths = try paths("--device", "software:msix=8,msi=2,intx=0")
        #expect(paths.map { $0["index"] as? String } == ["msi", "msix", "err", "req"])
        #expect(paths.map { $0["count"] as? Int } == [2, 8, 1, 1])
        for row in paths {
            #expect(row["path"] as? String == "unrouted")
            #expect((row["why"] as? String)?.contains("not connected") == true)
        }
    }

    @Test(
        "connected vectors are told as the mux's oracle tells them",
        arguments: [("handler", "msix", "user"), ("parked", "msi", "parked"), ("handler", "intx", "user")])
    func connected(route: String, index: String, expected: String) throws {
        let paths = try paths("--route", route, "--index", index)
        let row = try #require(paths.first { $0["index"] as? String == index })
        #expect(row["path"] as? String == expected && row["counted"] as? Bool == true)
        #expect(paths.filter { $0["path"] as? String == "unrouted" }.count == 4)
    }

    @Test(
        "vectors routed into a guest bypass this process or take the detour, and the text says which",
        .enabled(if: LatencyTests.kvmOpens, "kvm: /dev/kvm does not open, or lacks what the loop needs"),
        arguments: [("guest", "bypass-atomic"), ("detour", "detour")])
    func guest(route: String, expected: String) throws {
        let paths = try paths("--route", route, "--device", "software:msix=300")
        let row = try #require(paths.first { $0["index"] as? String == "msix" })
        #expect(row["path"] as? String == expected && row["count"] as? Int == 300 && row["first"] as? Int == 0)
        let text = try CommandProcess.run("info", "--route", route)
        #expect(text.output.contains("0-63  \(expected)"), "\(text.output)")
    }

    @Test(
        "INTx into a guest is served in the way the machine is best at, and info tells which and why",
        .enabled(if: LatencyTests.kvmOpens, "kvm: /dev/kvm does not open, or lacks what the loop needs"),
        arguments: [
            ("guest", "bypass-worker", "in-kernel resample, because the full irqchip resamples"),
            ("detour", "detour", "user EOI, because its owner chose it"),
        ])
    func servedLine(route: String, expected: String, reason: String) throws {
        let paths = try paths("--route", route, "--index", "intx")
        let row = try #require(paths.first { $0["index"] as? String == "intx" })
        #expect(row["path"] as? String == expected && row["counted"] as? Bool == true)
        #expect((row["why"] as? String)?.contains(reason) == true, "\(row)")
    }

    @Test("a route that info does not have, or an index that cannot be connected, is refused with status 64")
    func refusedRoutes() throws {
        for arguments in [["--route", "fanout"], ["--route", "guest", "--index", "err"], ["--index", "err"]] {
            let run = try CommandProcess.run(["info"] + arguments)
            #expect(run.status == 64 && run.output.isEmpty && run.diagnosticLines.count == 1)
            #expect(run.diagnostics.contains("accepted"))
        }
    }
}
