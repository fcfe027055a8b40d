import Testing

@testable import irqmux

@Suite("explain")
struct ExplainTests {
    @Test("masking MSI-X is ENOTTY, and the reason and the way round are told")
    func msixIsNotMaskable() throws {
        let run = try CommandProcess.run("explain", "msix:mask:none")
        #expect(run.status == 1)
        #expect(run.output.contains("ENOTTY: MSI-X vectors cannot be masked through VFIO; "))
    }

    @Test("requests are carried out in order, each on what the one before left")
    func order() throws {
        let disable = "msix:trigger:none@0x0"
        #expect(try CommandProcess.run("explain", disable).status == 1)
        let run = try CommandProcess.run("explain", "msix:trigger:eventfd@0x3", disable)
        #expect(run.status == 0)
        #expect(run.output.contains("MSI-X is enabled with 3 vectors allocated"))
        #expect(run.output.contains("MSI-X is disabled"))
    }

    @Test("a range that fails half-way says what it has already undone")
    func halfWay() throws {
        let run = try CommandProcess.run(
            "explain", "--format", "json", "msix:trigger:eventfd=5,6,7", "msix:trigger:eventfd@1=8,closed")
        #expect(run.status == 1)
        let object = try run.object()
        #expect(Set(object.keys) == ["schema", "device", "dialect", "requests", "ok"])
        #expect(object["schema"] as? String == "irqmux.explain/1")
        #expect(object["ok"] as? Bool == false)
        let requests = try #require(object["requests"] as? [[String: Any]])
        #expect(requests.count == 2)
        #expect(Set(requests[1].keys) == ["request", "ok", "result", "errno", "reason", "remedy", "changes"])
        #expect(requests[0]["ok"] as? Bool == true && requests[0]["result"] as? Int == 0)
        #expect(requests[1]["ok"] as? Bool == false)
        #expect(requests[1]["errno"] as? String == "EBADF" && requests[1]["result"] as? Int == -9)
        let changes = try #require(requests[1]["changes"] as? [String])
        #expect(changes.contains { $0.contains("de-assigned") })
    }

    @Test("too few vectors at the host is a positive result, which is no success")
    func positiveResult() throws {
        let run = try CommandProcess.run(
            "explain", "--host-vectors", "17", "--format", "json", "msix:trigger:eventfd@0x32")
        #expect(run.status == 1)
        let requests = try #require(try run.object()["requests"] as? [[String: Any]])
        #expect(requests[0]["result"] as? Int == 17)
        #expect(requests[0]["ok"] as? Bool == false)
    }

    @Test("the dialect decides whether MSI-X grows")
    func dialects() throws {
        let requests = ["msix:trigger:eventfd@0x4", "msix:trigger:eventfd@4x4"]
        #expect(try CommandProcess.run(["explain", "--dialect", "linux-6.1"] + requests).status == 1)
        #expect(try CommandProcess.run(["explain", "--dialect", "linux-6.12"] + requests).status == 0)
    }

    @Test("the layout of the device bounds the range")
    func layout() throws {
        let run = try CommandProcess.run("explain", "--device", "software:msix=2", "msix:trigger:eventfd@0x3")
        #expect(run.status == 1)
        #expect(run.output.contains("EINVAL"))
        #expect(
            try CommandProcess.run("explain", "--device", "software:msix=3", "msix:trigger:eventfd@0x3").status == 0)
    }

    @Test("a file that is no eventfd is EINVAL")
    func otherFile() throws {
        let run = try CommandProcess.run("explain", "msi:trigger:eventfd=file")
        #expect(run.status == 1)
        #expect(run.output.contains("EINVAL: the file descriptor is not an eventfd"))
    }
}
