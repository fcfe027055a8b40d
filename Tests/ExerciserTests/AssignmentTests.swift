import CKernel
import EventRing
import Exerciser
import Foundation
import InterruptModel
import Testing

@Suite("The device takes SET_IRQS with real eventfds")
struct AssignmentTests {
    @Test("a raise signals the eventfd once, and is counted")
    func raise() throws {
        let device = try Exerciser()
        let events = try EventFDs(2)
        try device.assign(.msix, events.numbers)
        guard case .signal = device.raise(Vector(.msix, 1)) else { return #expect(Bool(false), "not signalled") }
        #expect(try events.takeAll() == [0, 1])
        #expect(device.raisedCount(Vector(.msix, 1)) == 1 && device.raisedCount(Vector(.msix, 0)) == 0)
    }

    @Test("the caller may close his descriptor after the request")
    func callerCloses() throws {
        let device = try Exerciser()
        let reader = try EventFD()
        let given = irqmux_duplicate(reader.number)
        try device.assign(.msix, [given])
        _ = irqmux_close(given)
        device.raise(Vector(.msix, 0))
        #expect(try reader.take() == 1)
    }

    @Test("assigning neither reads nor writes the counter")
    func counterUntouched() throws {
        let device = try Exerciser()
        let event = try EventFD(initial: 7)
        try device.assign(.msix, [event.number])
        #expect(try event.take() == 7)
    }

    @Test("the device's duplicate is closed on -1, on a swap, on disable, on failure, and when the device goes")
    func duplicatesAreClosed() throws {
        let first = try EventFD()
        let second = try EventFD()
        do {
            let device = try Exerciser()
            try device.assign(.msix, [first.number, first.number])
            #expect(descriptors(toEventFDBehind: first.number) == 3)
            try device.assign(.msix, start: 1, [-1])
            #expect(descriptors(toEventFDBehind: first.number) == 2)
            try device.assign(.msix, [second.number])
            #expect(descriptors(toEventFDBehind: first.number) == 1)
            #expect(descriptors(toEventFDBehind: second.number) == 2)
            #expect(device.errno(of: IRQRequest(.msix, .trigger, .eventfd([first.number, -1, 1 << 30]))) == EBADF)
            #expect(descriptors(toEventFDBehind: first.number) == 1)
            #expect(descriptors(toEventFDBehind: second.number) == 1)
            try device.assign(.msix, [first.number])
            #expect(device.errno(of: IRQRequest(.msix, .trigger, .none(count: 0))) == 0)
            #expect(descriptors(toEventFDBehind: first.number) == 1)
            try device.assign(.intx, [first.number])
            #expect(device.errno(of: IRQRequest(.intx, .unmask, .eventfd([second.number]))) == 0)
            try device.assign(.err, [first.number])
            try device.assign(.req, [first.number])
            #expect(descriptors(toEventFDBehind: first.number) == 4)
            withExtendedLifetime(device) {}
        }
        #expect(descriptors(toEventFDBehind: first.number) == 1)
        #expect(descriptors(toEventFDBehind: second.number) == 1)
    }

    @Test("an eventfd that its owner lends is signalled, and neither duplicated nor closed")
    func lentEventFDs() throws {
        let device = try Exerciser()
        let owned = try EventFD()
        let lent = try EventFD()
        let vector = Vector(.msix, 0)
        #expect(!device.swapEventFD(of: vector, for: lent.number), "it signals nothing yet")
        try device.assign(.msix, [owned.number])
        #expect(device.swapEventFD(of: vector, for: lent.number))
        #expect(descriptors(toEventFDBehind: owned.number) == 1 && descriptors(toEventFDBehind: lent.number) == 1)
        device.raise(vector)
        let counts = (try owned.take(), try lent.take())
        #expect(counts == (0, 1))
        #expect(device.swapEventFD(of: vector, for: owned.number))
        try device.assign(.msix, [-1])
        #expect(descriptors(toEventFDBehind: owned.number) == 1 && descriptors(toEventFDBehind: lent.number) == 1)
        for other in [Vector(.msix, 0), Vector(.msix, 64), Vector(.msi, 0), Vector(.intx, 0), Vector(.err, 0)] {
            #expect(!device.swapEventFD(of: other, for: lent.number))
        }
    }

    @Test("what was raised while the vector was masked in the device fires at the eventfd it is swapped for, once")
    func swapFiresPending() throws {
        let device = try Exerciser()
        let first = try EventFD()
        let second = try EventFD()
        let vector = Vector(.msix, 0)
        try device.assign(.msix, [first.number])
        // The vector control word of entry 0 of the table.
        try device.writeRegion(4, offset: 12, count: 4, value: 1)
        guard case .pended = device.raise(vector) else { return #expect(Bool(false), "it was not held") }
        #expect(device.swapEventFD(of: vector, for: second.number))
        let counts = (try first.take(), try second.take())
        #expect(counts == (0, 1))
        #expect(device.ledger(vector).unexplained == 0)
    }

    @Test("a closed descriptor is EBADF, a pipe, a watch and a file are EINVAL")
    func badDescriptors() throws {
        let device = try Exerciser()
        let watch = inotify_init1(0)
        // SAFETY: the path is a literal that outlives the call.
        let file = unsafe open("/dev/null", O_RDWR)
        var pipes: [Int32] = [0, 0]
        // SAFETY: pipe writes two numbers into the array.
        #expect(unsafe pipe(&pipes) == 0)
        defer { for number in [watch, file] + pipes { _ = irqmux_close(number) } }
        for number in [watch, file] + pipes {
            #expect(device.errno(of: IRQRequest(.msix, .trigger, .eventfd([number]))) == EINVAL)
        }
        #expect(device.errno(of: IRQRequest(.msix, .trigger, .eventfd([1 << 30]))) == EBADF)
        #expect(try device.interruptInfo(.msix).count == 64)
    }

    @Test("loopback signals and counts like a raise")
    func loopback() throws {
        let device = try Exerciser()
        let events = try EventFDs(3)
        try device.assign(.msi, events.numbers)
        #expect(device.errno(of: IRQRequest(.msi, .trigger, .none(count: 3))) == 0)
        #expect(device.errno(of: IRQRequest(.msi, .trigger, .bool([0, 1, 0]))) == 0)
        #expect(try events.takeAll() == [1, 2, 1])
        #expect(device.raisedCount(Vector(.msi, 1)) == 2)
        #expect(device.ledger(Vector(.msi, 1)).unexplained == 0)
    }

    @Test("MSI-X raised without an eventfd stays pending and fires once at assignment")
    func pending() throws {
        let device = try Exerciser()
        let events = try EventFDs(1)
        let vector = Vector(.msix, 3)
        try device.assign(.msix, start: 3, [-1])
        #expect(device.raise(vector) == .pended && device.raise(vector) == .alreadyPending)
        #expect(device.raisedCount(vector) == 0 && device.pendedCount(vector) == 1)
        #expect(device.ledger(vector) == Ledger(raised: 2, coalesced: 1, pending: 1))
        try device.assign(.msix, start: 3, events.numbers)
        #expect(try events.take(0) == 1)
        #expect(device.ledger(vector) == Ledger(raised: 2, delivered: 1, coalesced: 1))
    }

    @Test("MSI raised without an eventfd pends too; what is disabled or has nobody to tell is dropped for its reason")
    func dropped() throws {
        let device = try Exerciser()
        let vector = Vector(.msi, 0)
        #expect(device.raise(vector) == .dropped(.disabled))
        try device.assign(.msi, [-1])
        #expect(device.raise(vector) == .pended)
        #expect(device.raise(Vector(.err, 0)) == .dropped(.unassigned))
        let ledger = device.ledger(vector)
        #expect(ledger.drops[.disabled] == 1 && ledger.pending == 1 && ledger.unexplained == 0)
        #expect(device.ledger(Vector(.err, 0)).drops[.unassigned] == 1)
    }

    @Test("reset and disable drop what is pending, each for its reason; reset keeps the assignments")
    func pendingDropped() throws {
        let device = try Exerciser()
        let events = try EventFDs(1)
        let vector = Vector(.msix, 1)
        try device.assign(.msix, [events.numbers[0], -1])
        device.raise(vector)
        try device.reset()
        device.raise(vector)
        #expect(device.errno(of: IRQRequest(.msix, .trigger, .none(count: 0))) == 0)
        let ledger = device.ledger(vector)
        #expect(ledger.drops[.deviceGone] == 1 && ledger.drops[.disabled] == 1 && ledger.unexplained == 0)
        try device.assign(.msix, events.numbers)
        try device.reset()
        device.raise(Vector(.msix, 0))
        #expect(try events.take(0) == 1)
    }

    @Test("too few host vectors give the positive return")
    func positiveReturn() throws {
        var configuration = ExerciserConfiguration(msix: 8)
        configuration.hostVectors = 3
        let device = try Exerciser(configuration)
        let events = try EventFDs(4)
        #expect(try device.setInterrupts(IRQRequest(.msix, .trigger, .eventfd(events.numbers))) == 3)
        #expect(try device.setInterrupts(IRQRequest(.msix, .trigger, .eventfd(Array(events.numbers[..<3])))) == 0)
    }

    @Test("a full table of 2048 vectors works")
    func fullTable() throws {
        let device = try Exerciser(ExerciserConfiguration(msix: 2048))
        let events = try EventFDs(1)
        let numbers = Array(repeating: events.numbers[0], count: 2048)
        try device.assign(.msix, numbers)
        #expect(device.errno(of: IRQRequest(.msix, .trigger, .none(count: 2048))) == 0)
        #expect(try events.take(0) == 2048)
    }

    @Test(
        "impossible configurations are refused",
        arguments: [
            ExerciserConfiguration(intx: 2), ExerciserConfiguration(msi: 3), ExerciserConfiguration(msi: 64),
            ExerciserConfiguration(msix: 2049), ExerciserConfiguration(msi: .max),
        ])
    func configuration(_ configuration: ExerciserConfiguration) {
        #expect(throws: DeviceError("create the software device", errno: EINVAL)) { _ = try Exerciser(configuration) }
    }

    @Test("a device without INTx, MSI and MSI-X still has ERR and REQ")
    func bare() throws {
        let device = try Exerciser(ExerciserConfiguration(intx: 0, msi: 0, msix: 0))
        let events = try EventFDs(2)
        try device.assign(.err, [events.numbers[0]])
        try device.assign(.req, [events.numbers[1]])
        device.raise(Vector(.req, 0))
        #expect(try events.takeAll() == [0, 1])
        #expect(device.raise(Vector(.msix, 0)) == .dropped(.disabled))
        #expect(device.raisedCount(Vector(.msix, 0)) == nil)
        #expect(device.lastRaise(Vector(.intx, 0)) == (0, 0))
        #expect(device.errno(of: IRQRequest(.intx, .trigger, .eventfd(events.numbers))) == EINVAL)
    }

    @Test("a blocking eventfd whose counter is full does not stall the device")
    func fullBlockingEventFD() throws {
        let device = try Exerciser()
        let event = EventFD(owning: eventfd(0, Int32(EFD_CLOEXEC)))
        try event.signal(UInt64.max - 1)
        try device.assign(.msix, [event.number])
        guard case .signal = device.raise(Vector(.msix, 0)) else { return #expect(Bool(false), "not signalled") }
        #expect(try event.take() == UInt64.max - 1)
    }

    @Test("running out of descriptors is EMFILE with a remedy, and what was assigned before is told apart")
    func outOfDescriptors() async throws {
        await #expect(processExitsWith: .success) {
            let device = try Exerciser()
            let event = try EventFD()
            var limit = rlimit(rlim_cur: 40, rlim_max: 40)
            // SAFETY: the structure outlives the call.
            precondition(unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
            let request = IRQRequest(.msix, .trigger, .eventfd(Array(repeating: event.number, count: 64)))
            do {
                _ = try device.setInterrupts(request)
            } catch let error as DeviceError {
                precondition(error.errno == EMFILE && error.remedy.utf8CodeUnitCount > 0)
                precondition(device.raise(Vector(.msix, 0)) == .dropped(.disabled))
                exit(0)
            }
            exit(1)
        }
    }
}
