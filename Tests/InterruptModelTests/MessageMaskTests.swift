import CKernel
import InterruptModel
import Testing

@Suite("What holds messages back in the device")
struct MessageMaskTests {
    static let messages: [IRQIndex] = [.msi, .msix]

    static func device(_ index: IRQIndex) -> DeviceInterrupts {
        var profile = DeviceProfile()
        profile.msiHasPendingBits = true
        return DeviceInterrupts.after([.trigger(index, [100, 101, 102])], profile)
    }

    @Test("a masked vector pends, merges, and fires once when it is unmasked", arguments: messages)
    func mask(_ index: IRQIndex) {
        var device = Self.device(index)
        let vector = Vector(index, 1)
        #expect(device.setMasked(vector, true) == nil && device.isMasked(vector))
        #expect(device.raise(vector) == .pended)
        #expect(device.raise(vector) == .alreadyPending)
        #expect(device.raise(Vector(index, 0)) == .signal(EventTests.eventFD(100)))
        #expect(device.setMasked(vector, false) == EventTests.eventFD(101))
        #expect(device.setMasked(vector, false) == nil)
        #expect(device.raise(vector) == .signal(EventTests.eventFD(101)))
    }

    @Test("an MSI-X entry is masked until an eventfd is assigned, and again when it is taken away")
    func entry() {
        var device = DeviceInterrupts(DeviceProfile())
        #expect(device.isMasked(Vector(.msix, 0)))
        _ = device.run(.trigger(.msix, [100, -1]))
        #expect(!device.isMasked(Vector(.msix, 0)) && device.isMasked(Vector(.msix, 1)))
        _ = device.run(.trigger(.msix, [-1]))
        #expect(device.isMasked(Vector(.msix, 0)))
    }

    @Test("the function mask holds all of MSI-X, beside the entries' own masks")
    func functionMask() {
        var device = Self.device(.msix)
        device.setMSIXMasked(true) { _, _ in Issue.record("nothing is pending yet") }
        for number in 0..<3 as Range<UInt32> { #expect(device.raise(Vector(.msix, number)) == .pended) }
        #expect(device.setMasked(Vector(.msix, 1), true) == nil)
        var told: [UInt32] = []
        device.setMSIXMasked(false) { vector, _ in told.append(vector.number) }
        #expect(told == [0, 2] && device.isPending(Vector(.msix, 1)))
    }

    @Test("assigning an eventfd under the function mask does not fire what is pending")
    func assignUnderMask() {
        var device = DeviceInterrupts.after([.trigger(.msix, [100, -1])])
        device.setMSIXMasked(true) { _, _ in }
        #expect(device.raise(Vector(.msix, 1)) == .pended)
        #expect(device.run(.trigger(.msix, start: 1, [101])).signals.isEmpty)
        var told: [UInt32] = []
        device.setMSIXMasked(false) { vector, _ in told.append(vector.number) }
        #expect(told == [1])
    }

    @Test("without bus mastership messages are lost, pending ones stay, and INTx is not concerned", arguments: messages)
    func busMaster(_ index: IRQIndex) {
        var device = Self.device(index)
        _ = device.setMasked(Vector(index, 0), true)
        #expect(device.raise(Vector(index, 0)) == .pended)
        device.setBusMaster(false) { _, _ in Issue.record("nobody may write") }
        #expect(device.raise(Vector(index, 1)) == .dropped(.disabled))
        #expect(device.setMasked(Vector(index, 0), false) == nil)
        var told: [Vector] = []
        device.setBusMaster(true) { vector, _ in told.append(vector) }
        #expect(told == [Vector(index, 0)])
        var line = DeviceInterrupts.after([.trigger(.intx, [100])])
        line.setBusMaster(false) { _, _ in }
        #expect(line.raise(Vector(.intx, 0)) == .signal(EventTests.eventFD(100)))
    }

    @Test("loopback passes over the masks")
    func loopback() {
        var device = Self.device(.msix)
        _ = device.setMasked(Vector(.msix, 0), true)
        #expect(device.run(IRQRequest(.msix, .trigger, .none(count: 1))).signals == [EventTests.eventFD(100)])
    }

    @Test("MASK and UNMASK of MSI-X work where the dialect has them, and are ENOTTY where it has not")
    func requests() {
        var dialect = Dialect.linux
        dialect.masksMSIX = true
        var device = DeviceInterrupts(DeviceProfile(), dialect)
        #expect(device.info(.msix)?.maskable == true)
        #expect(device.run(IRQRequest(.msix, .mask, .none(count: 1))).returnValue == -EINVAL)
        _ = device.run(.trigger(.msix, [100, 101]))
        #expect(device.run(IRQRequest(.msix, .mask, .bool([0, 1]))).reason == .messagesMasked)
        #expect(device.raise(Vector(.msix, 0)) == .signal(EventTests.eventFD(100)))
        #expect(device.raise(Vector(.msix, 1)) == .pended)
        #expect(device.run(IRQRequest(.msix, .mask, .eventfd([100]))).returnValue == -ENOTTY)
        let outcome = device.run(IRQRequest(.msix, .unmask, .none(count: 2)))
        #expect(outcome.signals == [EventTests.eventFD(101)] && outcome.reason == .messagesUnmasked)
        var linux = Self.device(.msix)
        #expect(linux.run(IRQRequest(.msix, .mask, .none(count: 1))).returnValue == -ENOTTY)
    }

    @Test("vectors that have no mask bit, or do not exist, are left alone")
    func others() {
        var device = Self.device(.msix)
        let before = device
        for vector in [Vector(.intx, 0), Vector(.err, 0), Vector(.req, 0), Vector(.msix, 64), Vector(.msi, 32)] {
            #expect(device.setMasked(vector, true) == nil && !device.isMasked(vector))
        }
        #expect(device == before)
    }
}
