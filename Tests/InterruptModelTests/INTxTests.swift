import CKernel
import InterruptModel
import Testing

@Suite("Table B.2: INTx")
struct INTxTests {
    static let pin = Vector(.intx, 0)
    static let on = [IRQRequest.trigger(.intx, [100])]
    static let msix = [IRQRequest.trigger(.msix, [200])]
    static func mask(_ data: IRQRequest.Data = .none(count: 1)) -> IRQRequest { IRQRequest(.intx, .mask, data) }
    static func unmask(_ data: IRQRequest.Data = .none(count: 1)) -> IRQRequest { IRQRequest(.intx, .unmask, data) }
    static func bool(_ action: IRQRequest.Action, _ byte: UInt8) -> IRQRequest {
        IRQRequest(.intx, action, .bool([byte]))
    }
    static func profile(_ line: DeviceProfile.Line, disINTx: Bool = true) -> DeviceProfile {
        var profile = DeviceProfile()
        profile.line = line
        profile.supportsDisINTx = disINTx
        return profile
    }

    static let assignment: [Row] = [
        Row(
            name: "an eventfd enables", request: .trigger(.intx, [100]), result: 0, reason: .enabled,
            after: [pin: 100], active: .intx),
        Row(
            name: "-1 enables with no trigger", request: .trigger(.intx, [-1]), result: 0,
            reason: .enabledWithoutTrigger, after: [pin: nil], active: .intx),
        Row(
            name: "any negative number enables with no trigger", request: .trigger(.intx, [-7]), result: 0,
            reason: .enabledWithoutTrigger, after: [pin: nil], active: .intx),
        Row(
            name: "a second eventfd swaps", before: on, request: .trigger(.intx, [101]), result: 0,
            reason: .assigned, after: [pin: 101], active: .intx),
        Row(
            name: "-1 drops the trigger and stays enabled", before: on, request: .trigger(.intx, [-1]), result: 0,
            reason: .removed, after: [pin: nil], active: .intx),
        Row(
            name: "refused while MSI-X is active", before: msix, request: .trigger(.intx, [100]), result: -EINVAL,
            reason: .otherTypeActive, active: .msix),
        Row(
            name: "a closed descriptor does not enable", request: .trigger(.intx, [9000]), result: -EBADF,
            reason: .notOpen, active: .some(nil)),
        Row(
            name: "another file does not enable", request: .trigger(.intx, [5000]), result: -EINVAL,
            reason: .notAnEventFD, active: .some(nil)),
        Row(
            name: "a closed descriptor leaves the old trigger", before: on, request: .trigger(.intx, [9000]),
            result: -EBADF, reason: .notOpen, after: [pin: 100], active: .intx),
        Row(
            name: "another file leaves the old trigger", before: on, request: .trigger(.intx, [5000]),
            result: -EINVAL, reason: .notAnEventFD, after: [pin: 100], active: .intx),
        Row(
            name: "ENODEV when the pin leads nowhere", request: .trigger(.intx, [100]), result: -ENODEV,
            reason: .notConnected, profile: profile(.notConnected), active: .some(nil)),
        Row(
            name: "EBUSY when the line is shared and DisINTx does not work", request: .trigger(.intx, [100]),
            result: -EBUSY, reason: .lineShared, profile: profile(.shared, disINTx: false), active: .some(nil)),
        Row(
            name: "a shared line is fine with DisINTx", request: .trigger(.intx, [100]), result: 0,
            reason: .enabled, profile: profile(.shared), active: .intx),
        Row(
            name: "EVENTFD count 0, none active", request: .trigger(.intx, []), result: -EINVAL,
            reason: .intxTakesOneVector),
        Row(
            name: "EVENTFD count 0, INTx active", before: on, request: .trigger(.intx, []), result: -EINVAL,
            reason: .intxTakesOneVector, after: [pin: 100]),
        Row(
            name: "EVENTFD count 0, MSI-X active", before: msix, request: .trigger(.intx, []), result: -EINVAL,
            reason: .otherTypeActive),
        Row(
            name: "NONE count 0 disables", before: on, request: .disable(.intx), result: 0, reason: .disabled,
            after: [pin: nil], active: .some(nil)),
        Row(
            name: "disabling INTx that is not enabled", request: .disable(.intx), result: -EINVAL,
            reason: .notEnabled),
        Row(
            name: "disabling INTx while MSI-X is active", before: msix, request: .disable(.intx), result: -EINVAL,
            reason: .otherTypeActive, active: .msix),
        Row(
            name: "disabling twice", before: on + [.disable(.intx)], request: .disable(.intx), result: -EINVAL,
            reason: .notEnabled),
    ]

    static let signalling: [Row] = [
        Row(
            name: "NONE signals", before: on, request: .loopBack(.intx, count: 1), result: 0, reason: .looped,
            signals: [100]),
        Row(
            name: "BOOL 1 signals", before: on, request: bool(.trigger, 1), result: 0, reason: .looped,
            signals: [100]),
        Row(
            name: "BOOL 255 is true", before: on, request: bool(.trigger, 255), result: 0, reason: .looped,
            signals: [100]),
        Row(name: "BOOL 0 does nothing", before: on, request: bool(.trigger, 0), result: 0, reason: .falseByte),
        Row(
            name: "NONE with no trigger signals nothing", before: [.trigger(.intx, [-1])],
            request: .loopBack(.intx, count: 1), result: 0, reason: .loopedNowhere),
        Row(
            name: "NONE while masked signals all the same", before: on + [mask()],
            request: .loopBack(.intx, count: 1), result: 0, reason: .looped, signals: [100]),
        Row(
            name: "NONE, none active", request: .loopBack(.intx, count: 1), result: -EINVAL,
            reason: .notEnabledLoopback),
        Row(name: "BOOL, none active", request: bool(.trigger, 1), result: -EINVAL, reason: .notEnabledLoopback),
        Row(
            name: "NONE, MSI-X active", before: msix, request: .loopBack(.intx, count: 1), result: -EINVAL,
            reason: .otherTypeActive),
        Row(
            name: "BOOL count 0", before: on, request: IRQRequest(.intx, .trigger, .bool([])), result: -EINVAL,
            reason: .intxTakesOneVector),
    ]

    static let masking: [Row] = [
        Row(name: "MASK NONE", before: on, request: mask(), result: 0, reason: .masked),
        Row(
            name: "MASK twice is masking once", before: on + [mask()], request: mask(), result: 0,
            reason: .alreadyMasked),
        Row(name: "MASK BOOL 1", before: on, request: bool(.mask, 1), result: 0, reason: .masked),
        Row(name: "MASK BOOL 0", before: on, request: bool(.mask, 0), result: 0, reason: .falseByte),
        Row(
            name: "MASK EVENTFD is not there", before: on, request: mask(.eventfd([100])), result: -ENOTTY,
            reason: .maskByEventFD),
        Row(
            name: "MASK count 0", before: on, request: mask(.none(count: 0)), result: -EINVAL,
            reason: .intxTakesOneVector),
        Row(name: "MASK, none active", request: mask(), result: -EINVAL, reason: .notEnabledMask),
        Row(
            name: "MASK EVENTFD, none active: EINVAL comes first", request: mask(.eventfd([100])), result: -EINVAL,
            reason: .notEnabledMask),
        Row(name: "MASK, MSI-X active", before: msix, request: mask(), result: -EINVAL, reason: .otherTypeActive),
        Row(name: "UNMASK NONE", before: on + [mask()], request: unmask(), result: 0, reason: .unmasked),
        Row(name: "UNMASK of what is not masked", before: on, request: unmask(), result: 0, reason: .notMasked),
        Row(name: "UNMASK BOOL 2", before: on + [mask()], request: bool(.unmask, 2), result: 0, reason: .unmasked),
        Row(name: "UNMASK BOOL 0", before: on + [mask()], request: bool(.unmask, 0), result: 0, reason: .falseByte),
        Row(name: "UNMASK, none active", request: unmask(), result: -EINVAL, reason: .notEnabledMask),
        Row(
            name: "UNMASK, MSI-X active", before: msix, request: unmask(), result: -EINVAL,
            reason: .otherTypeActive),
        Row(
            name: "UNMASK EVENTFD installs", before: on, request: unmask(.eventfd([150])), result: 0,
            reason: .unmaskInstalled),
        Row(
            name: "a second UNMASK EVENTFD is busy", before: on + [unmask(.eventfd([150]))],
            request: unmask(.eventfd([151])), result: -EBUSY, reason: .unmaskEventFDBusy),
        Row(
            name: "a bad descriptor is told before busy", before: on + [unmask(.eventfd([150]))],
            request: unmask(.eventfd([9000])), result: -EBADF, reason: .notOpen),
        Row(
            name: "another file is told before busy", before: on + [unmask(.eventfd([150]))],
            request: unmask(.eventfd([5000])), result: -EINVAL, reason: .notAnEventFD),
        Row(
            name: "-1 removes it", before: on + [unmask(.eventfd([150]))], request: unmask(.eventfd([-1])),
            result: 0, reason: .unmaskRemoved),
        Row(
            name: "any negative number removes it", before: on, request: unmask(.eventfd([-9])), result: 0,
            reason: .unmaskRemoved),
        Row(
            name: "after -1 another can be installed",
            before: on + [unmask(.eventfd([150])), unmask(.eventfd([-1]))], request: unmask(.eventfd([151])),
            result: 0, reason: .unmaskInstalled),
        Row(
            name: "UNMASK EVENTFD, none active", request: unmask(.eventfd([150])), result: -EINVAL,
            reason: .notEnabledMask),
    ]

    @Test("enabling, swapping, disabling", arguments: assignment) func assign(_ row: Row) { row.check() }
    @Test("loopback", arguments: signalling) func signal(_ row: Row) { row.check() }
    @Test("masking and unmasking", arguments: masking) func maskAndUnmask(_ row: Row) { row.check() }

    @Test("an asserted line masks itself, signals once, and is signalled again by each unmask until it is let go")
    func automask() {
        var device = DeviceInterrupts.after(Self.on)
        #expect(device.assertLine() == .signal(AssignedEventFD(number: 100, identity: 100)))
        #expect(device.isINTxMasked)
        #expect(device.assertLine() == .alreadyPending)
        let again = device.run(Self.unmask())
        #expect(again.reason == .stillAsserted && again.signals.map(\.number) == [100])
        #expect(device.isINTxMasked && device.isPending(Self.pin))
        device.deassertLine()
        let done = device.run(Self.unmask())
        #expect(done.reason == .unmasked && done.signals.isEmpty)
        #expect(!device.isINTxMasked)
    }

    @Test("an interrupt with no trigger masks itself and tells nobody; the next trigger hears of it on unmask")
    func noTrigger() {
        var device = DeviceInterrupts.after([.trigger(.intx, [-1])])
        #expect(device.assertLine() == .pended)
        #expect(device.isINTxMasked)
        let assigned = device.run(.trigger(.intx, [100]))
        #expect(assigned.signals.isEmpty)
        #expect(device.run(Self.unmask()).signals.map(\.number) == [100])
    }

    @Test("a line asserted before INTx is enabled fires at once")
    func assertedBefore() {
        var device = DeviceInterrupts(DeviceProfile())
        #expect(device.assertLine() == .pended)
        let outcome = device.run(.trigger(.intx, [100]))
        #expect(outcome.reason == .enabled && outcome.signals.map(\.number) == [100])
        #expect(device.isINTxMasked)
    }

    @Test("the unmasking eventfd unmasks, or signals again while the line is asserted")
    func unmaskEventFD() {
        var device = DeviceInterrupts.after(Self.on + [Self.unmask(.eventfd([150]))])
        #expect(device.unmaskEventFD?.number == 150)
        _ = device.assertLine()
        #expect(device.unmaskEventFDSignalled()?.number == 100)
        #expect(device.isINTxMasked)
        device.deassertLine()
        #expect(device.unmaskEventFDSignalled() == nil)
        #expect(!device.isINTxMasked)
    }

    @Test("disabling INTx lets trigger and unmasking eventfd go")
    func disableReleasesBoth() {
        var device = DeviceInterrupts.after(Self.on + [Self.unmask(.eventfd([150]))])
        let outcome = device.run(.disable(.intx))
        #expect(outcome.released.map(\.number).sorted() == [100, 150])
        #expect(device == DeviceInterrupts(DeviceProfile()))
        #expect(device.unmaskEventFDSignalled() == nil)
    }

    @Test("DisINTx masks, gates loopback and unmask, and unmasks when it is cleared")
    func disINTx() {
        var device = DeviceInterrupts.after(Self.on)
        #expect(device.writeDisINTx(true) == nil)
        #expect(device.isINTxMasked)
        #expect(device.run(.loopBack(.intx, count: 1)).reason == .loopbackGated)
        #expect(device.assertLine() == .pended)
        let gated = device.run(Self.unmask())
        #expect(gated.returnValue == 0 && gated.reason == .unmaskGated && device.isINTxMasked)
        #expect(device.writeDisINTx(false)?.number == 100)
        device.deassertLine()
        #expect(device.run(Self.unmask()).reason == .unmasked)
    }

    @Test("clearing DisINTx unmasks even what a request had masked")
    func disINTxForgetsTheMask() {
        var device = DeviceInterrupts.after(Self.on + [Self.mask()])
        _ = device.writeDisINTx(true)
        _ = device.writeDisINTx(false)
        #expect(!device.isINTxMasked)
    }

    @Test("INTx enabled under DisINTx starts masked")
    func enabledMasked() {
        var device = DeviceInterrupts(DeviceProfile())
        _ = device.writeDisINTx(true)
        _ = device.assertLine()
        let outcome = device.run(.trigger(.intx, [100]))
        #expect(outcome.signals.isEmpty && device.isINTxMasked)
        #expect(device.writeDisINTx(false)?.number == 100)
    }
}
