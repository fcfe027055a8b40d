import Foundation
import Testing

/// What the scripts of the emulated machine do where there is no QEMU, and where it fails: with programs of the same
/// names that stand before the real ones in PATH.
@Suite("scripts of the emulated machine")
struct MachineScriptTests {
    /// A folder of programs for PATH; it goes with the value.
    private final class Programs {
        let folder = FileManager.default.temporaryDirectory.appending(path: "irqmux-\(UUID().uuidString)")

        init(_ programs: [String: String]) throws {
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            for (name, body) in programs {
                let file = folder.appending(path: name)
                try Data("#!/bin/sh\n\(body)\n".utf8).write(to: file)
                try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: file.path)
            }
        }

        deinit { try? FileManager.default.removeItem(at: folder) }

        func path(_ name: String) -> String { folder.appending(path: name).path }
        func text(_ name: String) -> String { (try? String(contentsOfFile: path(name), encoding: .utf8)) ?? "" }

        /// Runs a script of the repository; its status and everything it printed.
        func run(_ arguments: [String], _ extra: [String: String] = [:]) throws -> (status: Int32, output: String) {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            process.arguments = ["bash"] + arguments
            process.currentDirectoryURL = Repository.root
            var environment = ProcessInfo.processInfo.environment
            for name in ["CI", "IRQMUX_PART_OF_TEST", "KERNELS", "PARTS"] { environment[name] = nil }
            environment["PATH"] = folder.path + ":" + (environment["PATH"] ?? "")
            environment.merge(extra) { _, new in new }
            process.environment = environment
            let output = Pipe()
            process.standardInput = FileHandle.nullDevice
            process.standardOutput = output
            process.standardError = output
            try process.run()
            let told = output.fileHandleForReading.readDataToEndOfFile()
            process.waitUntilExit()
            return (process.terminationStatus, String(decoding: told, as: UTF8.self))
        }
    }

    /// A machine without QEMU: dpkg knows no package, and apt cannot install any.
    private func withoutQEMU() throws -> Programs {
        try Programs([
            "dpkg-query": "exit 1", "sudo": "exit 1",
            "apt-get": "echo 'E: no mirror answers' >&2\nexit 100",
        ])
    }

    @Test("without QEMU and no way to install it, the machine is one skip that says what to type")
    func lacking() throws {
        let (status, output) = try withoutQEMU().run(["Scripts/test-vm.sh"])
        #expect(status == 0, "\(output)")
        #expect(output.contains("skipped: emulated machine: vm: "))
        #expect(output.contains("apt-get install -y qemu-system-x86"))
        #expect(output.hasSuffix("\n0 passed, 0 failed, 1 skipped\n"))
    }

    @Test("with CI=true the same is a failure")
    func lackingInCI() throws {
        let (status, output) = try withoutQEMU().run(["Scripts/test-vm.sh"], ["CI": "true"])
        #expect(status == 1, "\(output)")
        #expect(output.contains("FAILED: emulated machine: vm: "))
        #expect(output.contains("apt-get install -y qemu-system-x86"))
        #expect(output.hasSuffix("\n0 passed, 1 failed, 0 skipped\n"))
    }

    @Test("as a part of all tests it is a skip that CI counts as a failure")
    func lackingAsPart() throws {
        let programs = try withoutQEMU()
        let results = programs.path("results")
        let (status, output) = try programs.run(
            ["Scripts/test-vm.sh", results], ["CI": "true", "IRQMUX_PART_OF_TEST": "1"])
        #expect(status == 0, "\(output)")
        let fields = programs.text("results").split(separator: "\t", omittingEmptySubsequences: false)
        try #require(fields.count == 3)
        #expect(fields[0] == "skip" && fields[2].hasPrefix("vm: "))
        let verdict = try programs.run(
            ["-c", "source Scripts/stages.sh; skip_verdict \"$REASON\""], ["REASON": String(fields[2])])
        #expect(verdict.output.contains("CI must run it"))
    }

    /// A QEMU that counts its starts and does `body`; `$results` is the file of the second serial line.
    private func qemu(_ body: String) throws -> Programs {
        try Programs([
            "qemu-system-x86_64": """
            here=$(dirname "$0")
            echo start >>"$here/starts"
            start=$(wc -l <"$here/starts")
            for word in "$@"; do case $word in file:*) results=${word#file:} ;; esac; done
            \(body)
            """
        ])
    }

    private func boot(
        _ programs: Programs, limit: Int = 60, part: String = ""
    ) throws -> (starts: Int, results: [String], output: String) {
        let told = try programs.run(
            ["Scripts/vm/tries.sh", "made", programs.path("kernel"), "initramfs", "default", programs.path("boot")],
            ["IRQMUX_VM_LIMIT": "\(limit)", "IRQMUX_PART_OF_TEST": part])
        #expect(told.status == 0, "\(told.output)")
        return (
            programs.text("starts").split(separator: "\n").count,
            programs.text("boot.results").split(separator: "\n").map { String($0.replacing("\t", with: "|")) },
            told.output
        )
    }

    private static let runs = #"printf 'pass\tone\t\nfail\ttwo\twrong\nend\n' >"$results"; exit 33"#

    @Test("a QEMU that dies gets a second try, and only the second one's results count")
    func diesOnce() throws {
        let programs = try qemu(
            #"if [ "$start" = 1 ]; then printf 'fail\tlost\t\n' >"$results"; exit 1; fi"# + "\n" + Self.runs)
        let (starts, results, output) = try boot(programs)
        #expect(starts == 2)
        #expect(
            results == [
                "pass|machine made: one|", "fail|machine made: two|wrong", "pass|machine made: the whole list ran|",
            ])
        #expect(output.contains("QEMU itself died; once more"))
        #expect(output.contains("pass  made: one"))
    }

    @Test("as a part of all tests only what did not pass has a line, and the rest is a number")
    func quietly() throws {
        let (_, results, output) = try boot(qemu(Self.runs), part: "1")
        #expect(results.count == 3)
        #expect(!output.contains("pass  made: one") && output.contains("fail  made: two: wrong"))
        #expect(output.contains("made: 1 passed, 1 failed, 0 skipped inside"))
    }

    @Test("one that hangs is ended, tried again, and then it is a failure that says so, and what ran")
    func hangs() throws {
        let programs = try qemu(
            #"printf 'begin\tone\t\npass\tone\t\nbegin\ttwo\t\n' >"$results"; exec sleep 600"#)
        let (starts, results, output) = try boot(programs, limit: 1)
        #expect(starts == 2)
        #expect(
            results == [
                "pass|machine made: one|",
                "fail|machine made: the whole list ran|it hung: no end within 1 s, and this had begun last: two",
            ])
        #expect(output.contains("it hung: no end within 1 s, and this had begun last: two; once more"))
    }

    @Test("a script that is killed takes its QEMU with it")
    func leavesNothing() throws {
        let programs = try qemu(#"echo $$ >"$here/pid"; exec sleep 600"#)
        let told = try programs.run(
            [
                "-c",
                """
                Scripts/vm/tries.sh made "$HERE/kernel" initramfs default "$HERE/boot" &
                until [ -s "$HERE/pid" ]; do sleep 0.05; done
                kill -KILL $!
                for round in $(seq 600); do
                    kill -0 "$(cat "$HERE/pid")" 2>/dev/null || exit 0
                    sleep 0.1
                done
                kill "$(cat "$HERE/pid")"
                exit 1
                """,
            ], ["HERE": programs.folder.path])
        #expect(told.status == 0, "\(told.output)")
    }

    @Test("a list of results that stood still and was told again counts once")
    func toldAgain() throws {
        let told = #"pass\tone\t\n\nlist\t\t\npass\ttwo\t\npass\tthr\nlist\t\t\npass\ttwo\t\npass\tthree\t\nend\n"#
        let (_, results, _) = try boot(qemu("printf '\(told)' >\"$results\"; exit 33"))
        #expect(
            results == [
                "pass|machine made: one|", "pass|machine made: two|", "pass|machine made: three|",
                "pass|machine made: the whole list ran|",
            ])
    }

    @Test("one that dies twice is a failure")
    func diesTwice() throws {
        let (starts, results, _) = try boot(qemu("exit 134"))
        #expect(starts == 2)
        #expect(results == ["fail|machine made: the whole list ran|QEMU itself died"])
    }

    @Test("a guest that stops half-way is not tried again: that is the kernel's doing, or ours")
    func guestDies() throws {
        let (starts, results, _) = try boot(qemu(#"printf 'pass\tone\t\n' >"$results"; exit 0"#))
        #expect(starts == 1)
        #expect(results.count == 2)
        #expect(results.last?.contains("the guest stopped half-way") == true)
    }

    @Test("a list that breaks off without its end is a failure, whatever QEMU says")
    func noEnd() throws {
        let (starts, results, _) = try boot(qemu(#"printf 'pass\tone\t\n' >"$results"; exit 33"#))
        #expect(starts == 1)
        #expect(results.last?.hasPrefix("fail|machine made: the whole list ran|") == true)
    }
}
