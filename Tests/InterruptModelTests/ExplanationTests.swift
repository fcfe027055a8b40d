import CKernel
import InterruptModel
import Testing

@Suite("explain says what a request would do, and why")
struct ExplanationTests {
    static func lines(
        _ request: IRQRequest, after before: [IRQRequest] = [], _ profile: DeviceProfile = DeviceProfile()
    ) -> [String] {
        DeviceInterrupts.after(before, profile).explain(request, lookUp: Descriptors.lookUp).lines
    }

    @Test("masking MSI-X")
    func maskMSIX() {
        #expect(
            Self.lines(IRQRequest(.msix, .mask, .none(count: 1))) == [
                "ENOTTY: MSI-X vectors cannot be masked through VFIO; "
                    + "take the vector's eventfd away with -1, or mask where the interrupt goes",
                "nothing was changed",
            ])
    }

    @Test("a range that fails half-way")
    func halfRange() {
        let lines = Self.lines(
            .trigger(.msix, [200, 201, 202, 9000, 204]), after: [.trigger(.msix, [100, 101, 102, 103, 104])])
        #expect(
            lines == [
                "EBADF: the file descriptor is not open", "it failed at vector 3",
                "MSI-X vectors 0…3 are de-assigned: what worked before works no more",
            ])
    }

    @Test("enabling")
    func enabling() {
        #expect(
            Self.lines(.trigger(.msix, start: 2, [100, 101, -1, 103])) == [
                "0: the type is enabled", "MSI-X is enabled with 6 vectors allocated",
                "MSI-X vectors 2…3, 5 are assigned",
            ])
        #expect(
            Self.lines(.trigger(.intx, [100])).dropFirst() == [
                "INTx is enabled with 1 vector allocated", "INTx vector 0 is assigned",
            ])
    }

    @Test("the positive return")
    func positive() {
        var profile = DeviceProfile()
        profile.hostVectors = 17
        #expect(
            Self.lines(.trigger(.msix, Array(repeating: 100, count: 32)), profile) == [
                "17 (a positive result, not an errno): the host has fewer vectors than asked for; "
                    + "nothing was enabled; ask again for at most that many"
            ])
    }

    @Test("growing, moving, signalling, masking")
    func details() {
        #expect(
            Self.lines(.trigger(.msix, [150, 151]), after: [.trigger(.msix, [100])]) == [
                "0: the assignments are changed",
                "1 more vectors are allocated, and stay so until the type is disabled",
                "MSI-X vector 1 is assigned", "MSI-X vector 0 is moved to another eventfd",
            ])
        #expect(
            Self.lines(.loopBack(.msi, count: 2), after: [.trigger(.msi, [100, 101])])[1]
                == "MSI vectors 0…1 are signalled")
        let on = IRQRequest.trigger(.intx, [100])
        #expect(
            Self.lines(IRQRequest(.intx, .mask, .bool([1])), after: [on]) == [
                "0: INTx is masked", "INTx is now masked",
            ])
        #expect(Self.lines(.disable(.intx), after: [on])[1] == "INTx is disabled and its vectors are freed")
        #expect(
            Self.lines(IRQRequest(.intx, .unmask, .eventfd([101])), after: [on])[1]
                == "INTx is unmasked by file descriptor 101")
    }

    @Test("a raw request is explained too")
    func raw() {
        let header = IRQSetHeader(argsz: 20, flags: 0x21, index: 7, start: 0, count: 0)
        let lines = DeviceInterrupts(DeviceProfile()).explain(
            RawIRQRequest(header: header), lookUp: Descriptors.lookUp
        ).lines
        #expect(lines[0].hasPrefix("EINVAL: PCI devices have the indexes 0 (INTx)"))
    }

    @Test("explaining changes nothing")
    func pure() {
        let device = DeviceInterrupts.after([.trigger(.msix, [100])])
        let copy = device
        _ = device.explain(.disable(.msix), lookUp: Descriptors.lookUp)
        #expect(device == copy)
    }

    @Test("every reason is explained", arguments: Reason.allCases)
    func reasons(_ reason: Reason) {
        #expect(reason.explanation.utf8CodeUnitCount > 0)
        #expect(!"\(reason.explanation)".hasSuffix(".") && !"\(reason.remedy)".hasSuffix("."))
    }
}
