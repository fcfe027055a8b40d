import Testing

@testable import irqmux

@Suite("What cannot be meant is refused in one line")
struct UsageTests {
    @Test(
        "malformed input: one line on stderr that says what is wrong and what is accepted, nothing on stdout, exit 64",
        arguments: [
            (["doctor", "--vectors", "0"], "1 to 16384"),
            (["doctor", "--vectors", "20000"], "1 to 16384"),
            (["doctor", "--vectors", "many"], "a whole number"),
            (["doctor", "--format", "xml"], "'text' and 'json'"),
            (["explain", "--device", "hardware", "intx:mask:none"], "0000:01:00.0"),
            (["explain", "--device", "software:msi=3", "intx:mask:none"], "powers of two"),
            (["explain", "--device", "software:msix=4096", "intx:mask:none"], "2048"),
            (["explain", "--dialect", "windows", "intx:mask:none"], "linux-6.12"),
            (["explain", "--dialect", "linux-4.19", "intx:mask:none"], "linux-6.1"),
            (["explain", "msix"], "index:action:data"),
            (["explain", "msix:raise:none"], "unmask"),
            (["frobnicate"], "doctor"),
        ] as [([String], String)])
    func refused(arguments: [String], accepted: String) throws {
        let run = try CommandProcess.run(arguments)
        #expect(run.status == 64)
        #expect(run.output.isEmpty)
        #expect(run.diagnosticLines.count == 1, "\(run.diagnostics)")
        #expect(run.diagnostics.hasPrefix("irqmux: error: "))
        #expect(run.diagnostics.contains("accepted: "))
        #expect(run.diagnostics.contains(accepted), "\(run.diagnostics)")
    }

    @Test(
        "what the message cannot list, it says where to find",
        arguments: [
            ["doctor", "--vectrs", "3"], ["doctor", "extra"], ["doctor", "--vectors"], ["explain"], ["--frob"],
        ])
    func pointsToHelp(arguments: [String]) throws {
        let run = try CommandProcess.run(arguments)
        #expect(run.status == 64)
        #expect(run.output.isEmpty)
        #expect(run.diagnosticLines.count == 1, "\(run.diagnostics)")
        #expect(run.diagnostics.contains("--help'"), "\(run.diagnostics)")
    }

    @Test("a value with line breaks and escape sequences cannot break the one line")
    func hostileValue() throws {
        let run = try CommandProcess.run("doctor", "--vectors", "1\n2\u{1B}[31m\r3")
        #expect(run.status == 64)
        #expect(run.diagnosticLines.count == 1)
        #expect(!run.diagnostics.contains("\u{1B}"))
    }

    @Test(
        "explaining a device that has a layout of its own is refused with status 64",
        arguments: ["0000:01:00.0", "mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "vfio-user:/run/x.sock"])
    func noLayout(device: String) throws {
        let run = try CommandProcess.run("explain", "--device", device, "intx:mask:none")
        #expect(run.status == 64)
        #expect(run.output.isEmpty)
        #expect(run.diagnosticLines.count == 1)
        #expect(run.diagnostics.contains("has a layout of its own"))
    }

    @Test("output that cannot be written ends with status 2 and one line")
    func fullDevice() throws {
        let run = try CommandProcess.shell("$IRQMUX doctor --format json > /dev/full")
        #expect(run.status == 2)
        #expect(run.diagnosticLines.count == 1)
        #expect(run.diagnostics.contains("cannot write to stdout: ENOSPC"))
    }
}
