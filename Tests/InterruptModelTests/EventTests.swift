import InterruptModel
import Testing

@Suite("What the device does by itself")
struct EventTests {
    static func eventFD(_ number: Int32) -> AssignedEventFD {
        AssignedEventFD(number: number, identity: UInt64(number))
    }

    @Test("a message signals the vector's eventfd every time")
    func message() {
        var device = DeviceInterrupts.after([.trigger(.msix, [100, 101])])
        for _ in 0..<3 { #expect(device.raise(Vector(.msix, 1)) == .signal(Self.eventFD(101))) }
    }

    @Test("MSI-X raised without an eventfd stays pending, and fires once when one is assigned")
    func pendingBit() {
        var device = DeviceInterrupts.after([.trigger(.msix, [100, -1])])
        #expect(device.raise(Vector(.msix, 1)) == .pended)
        #expect(device.raise(Vector(.msix, 1)) == .alreadyPending)
        #expect(device.isPending(Vector(.msix, 1)))
        let outcome = device.run(.trigger(.msix, start: 1, [101]))
        #expect(outcome.signals == [Self.eventFD(101)])
        #expect(!device.isPending(Vector(.msix, 1)))
        #expect(device.run(.trigger(.msix, start: 1, [102])).signals.isEmpty)
    }

    @Test("a pending vector that was never allocated fires when MSI-X grows to it")
    func pendingBeyondAllocation() {
        var device = DeviceInterrupts.after([.trigger(.msix, [100])])
        #expect(device.raise(Vector(.msix, 9)) == .pended)
        #expect(device.run(.trigger(.msix, start: 9, [109])).signals == [Self.eventFD(109)])
    }

    @Test("a pending vector fires into an eventfd that the same request takes away again")
    func pendingInFailure() {
        var device = DeviceInterrupts.after([.trigger(.msix, [-1, -1])])
        _ = device.raise(Vector(.msix, 0))
        let outcome = device.run(.trigger(.msix, [100, 9000]))
        #expect(outcome.signals == [Self.eventFD(100)] && outcome.released == [Self.eventFD(100)])
        #expect(!device.isPending(Vector(.msix, 0)))
    }

    @Test("MSI that lost its eventfd is dropped, unless the device has pending bits")
    func msiWithoutPendingBits() {
        let request = IRQRequest.trigger(.msi, [100, -1])
        var device = DeviceInterrupts.after([.trigger(.msi, [100, 101]), .trigger(.msi, start: 1, [-1])])
        #expect(device.raise(Vector(.msi, 1)) == .dropped(.unassigned))
        #expect(device.run(.trigger(.msi, start: 1, [101])).signals.isEmpty)
        var profile = DeviceProfile()
        profile.msiHasPendingBits = true
        var maskable = DeviceInterrupts.after([request], profile)
        #expect(maskable.raise(Vector(.msi, 1)) == .pended)
    }

    @Test("MSI that never had an eventfd is kept by the host, once, and lost with the allocation")
    func msiBeforeFirstEventFD() {
        var device = DeviceInterrupts.after([.trigger(.msi, [100, -1])])
        #expect(device.raise(Vector(.msi, 1)) == .pended)
        #expect(device.raise(Vector(.msi, 1)) == .alreadyPending)
        #expect(device.raise(Vector(.msi, 5)) == .dropped(.unassigned), "not allocated")
        var other = device
        #expect(device.run(.trigger(.msi, start: 1, [101])).signals == [Self.eventFD(101)])
        #expect(device.raise(Vector(.msi, 1)) == .signal(Self.eventFD(101)))
        _ = other.run(.disable(.msi))
        #expect(other.run(.trigger(.msi, [100, 101])).signals.isEmpty)
    }

    @Test("a message of a type that is not enabled is dropped", arguments: [IRQIndex.msi, .msix])
    func disabledType(_ index: IRQIndex) {
        var device = DeviceInterrupts(DeviceProfile())
        #expect(device.raise(Vector(index, 0)) == .dropped(.disabled))
        var intx = DeviceInterrupts.after([.trigger(.intx, [100])])
        #expect(intx.raise(Vector(index, 0)) == .dropped(.disabled))
    }

    @Test("a vector that the device lacks is dropped and never traps")
    func absent() {
        var device = DeviceInterrupts(DeviceProfile(hasINTx: false, msiVectors: 0, msixVectors: 0))
        for index in [IRQIndex.intx, .msi, .msix] {
            #expect(device.raise(Vector(index, 0)) == .dropped(.disabled))
            #expect(device.eventFD(Vector(index, 0)) == nil)
        }
        #expect(device.raise(Vector(.msix, .max)) == .dropped(.disabled))
        #expect(!device.isPending(Vector(.msix, .max)) && !device.isAllocated(Vector(.msix, .max)))
    }

    @Test("ERR and REQ without an eventfd are dropped as unassigned")
    func unheard() {
        var device = DeviceInterrupts(DeviceProfile())
        #expect(device.raise(Vector(.err, 0)) == .dropped(.unassigned))
    }

    @Test("disabling MSI-X loses its pending bits, and says so")
    func disableDropsPending() {
        var device = DeviceInterrupts.after([.trigger(.msix, [100, -1])])
        _ = device.raise(Vector(.msix, 1))
        let outcome = device.run(.disable(.msix))
        #expect(outcome.changes.contains(.pendingDropped(Vector(.msix, 1))))
        #expect(device == DeviceInterrupts(DeviceProfile()))
    }

    @Test("reset keeps assignments and masks, and forgets the line and the pending bits")
    func reset() {
        var device = DeviceInterrupts.after([.trigger(.msix, [100, -1]), .trigger(.err, [101])])
        _ = device.raise(Vector(.msix, 1))
        #expect(device.reset() == 1)
        #expect(device.number(Vector(.msix, 0)) == 100 && device.number(Vector(.err, 0)) == 101)
        #expect(!device.isPending(Vector(.msix, 1)) && device.activeType == .msix)

        var pin = DeviceInterrupts.after([.trigger(.intx, [100])])
        _ = pin.assertLine()
        #expect(pin.reset() == 0)
        #expect(pin.isINTxMasked && !pin.isLineAsserted)
    }

    @Test("close gives everything back and leaves a device as it was opened", arguments: [Dialect.linux, .libvfioUser])
    func close(_ dialect: Dialect) {
        var device = DeviceInterrupts.after(
            [.trigger(.msix, [100, 101]), .trigger(.err, [102]), .trigger(.req, [103])], DeviceProfile(), dialect)
        _ = device.writeDisINTx(true)
        var released: [Int32] = []
        for case .released(_, let eventFD) in device.close() { released.append(eventFD.number) }
        #expect(released.sorted() == [100, 101, 102, 103])
        #expect(device == DeviceInterrupts(DeviceProfile(), dialect))
    }

    @Test("close takes INTx with its unmasking eventfd")
    func closeINTx() {
        var device = DeviceInterrupts.after([.trigger(.intx, [100]), IRQRequest(.intx, .unmask, .eventfd([101]))])
        #expect(
            device.close() == [
                .unmaskRemoved(Self.eventFD(101)), .released(Vector(.intx, 0), Self.eventFD(100)), .disabled(.intx),
            ])
    }
}

@Suite("A gate loses nothing")
struct VectorGateTests {
    @Test("an open gate passes, a shut one holds and hands all out when it opens")
    func masking() {
        var gate = VectorGate()
        #expect(gate.arrive(3) == 3 && !gate.isPending)
        gate.mask()
        #expect(gate.arrive() == 0 && gate.arrive(4) == 0 && gate.isPending)
        #expect(gate.unmask() == 5 && !gate.isPending)
        #expect(gate.unmask() == 0)
    }

    @Test("a masked and parked vector passes only when neither holds it")
    func both() {
        var gate = VectorGate(masked: true, parked: true)
        _ = gate.arrive(2)
        #expect(gate.unmask() == 0 && gate.isPending)
        #expect(gate.unpark() == 2)
        gate.park()
        #expect(gate.arrive() == 0 && gate.discard() == 1 && gate.unpark() == 0)
    }

    @Test("a full gate stays full")
    func saturation() {
        var gate = VectorGate(masked: true)
        _ = gate.arrive(.max)
        _ = gate.arrive(1)
        #expect(gate.held == .max)
    }

    @Test("whatever the order, arrivals = passed + held + discarded", arguments: seeds)
    func conservation(seed: UInt64) {
        var dice = Dice(seed)
        var gate = VectorGate()
        var arrived: UInt64 = 0
        var out: UInt64 = 0
        for _ in 0..<1000 {
            switch dice.below(6) {
            case 0: gate.mask()
            case 1: out += gate.unmask()
            case 2: gate.park()
            case 3: out += gate.unpark()
            case 4: if dice.below(8) == 0 { out += gate.discard() }
            default:
                let count = UInt64(dice.below(5))
                arrived += count
                out += gate.arrive(count)
            }
            #expect(arrived == out + gate.held, "seed \(seed)")
            #expect(!gate.isOpen || gate.held == 0, "seed \(seed)")
        }
    }
}
