import CKernel
import EventRing
import Exerciser
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import Synchronization
import TestSupport
import Testing

/// SET_IRQS that a test refuses, by the eventfds that are to be assigned.
private final class Refusal: Sendable {
    private let rule = Mutex<@Sendable (IRQRequest, [Int32]) -> Bool>({ _, _ in false })

    func begin(_ isRefused: @escaping @Sendable (IRQRequest, [Int32]) -> Bool) { rule.withLock { $0 = isRefused } }
    func end() { begin { _, _ in false } }

    /// As the kernel refuses: what the vectors of the request had is gone.
    var answer: Interposer.Answer {
        { [self] (request, device) throws(DeviceError) in
            guard case .eventfd(let numbers) = request.data, rule.withLock({ $0(request, numbers) }) else {
                return try device.setInterrupts(request)
            }
            let nothing = [Int32](repeating: -1, count: numbers.count)
            _ = try device.setInterrupts(
                IRQRequest(request.index, request.action, start: request.start, .eventfd(nothing)))
            throw DeviceError("SET_IRQS", errno: ENOMEM)
        }
    }
}

/// A vector that may have lost a signal is told once, by a message of nobody's signal; one that has not is never. The
/// guest's counts say the first, `report.kicks` that it is known.
@Suite(
    "What a guest's vector may have lost is told once",
    .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized, .timeLimit(.minutes(5)))
struct GuestKickTests {
    // MARK: Refusals

    /// MSI may have no pending bits: what came while the vector had no eventfd is lost. MSI-X pends in the device.
    @Test("a way past the loop that is refused: told where the device keeps nothing, and each refusal once")
    func refusedBypass() throws {
        let refusal = Refusal()
        var msi = try MSIBench(1, refusal.answer)
        try msi.enable(1)
        let bypass = msi.device.eventFDs
        refusal.begin { $1 == bypass }
        msi.redirect(to: 1)
        #expect(msi.mux.routesWaiting == 1 && msi.mux.routesRefused?.errno == ENOMEM)
        #expect(try msi.taken(1) == 1 && msi.taken(0) == 0 && msi.msi.report.kicks == 1)
        #expect(try msi.taken(1) == 0, "once")
        try msi.mux.commitRoutes()
        #expect(try msi.taken(1) == 1 && msi.msi.report.kicks == 2, "another refusal, another loss")
        refusal.end()
        try msi.mux.commitRoutes()
        #expect(msi.mux.routesWaiting == 0)
        #expect(try msi.taken(1) == 0 && msi.msi.report.kicks == 2, "nothing was refused")
        msi.raise(0)
        #expect(try msi.taken(1) == 1)
        expectSettled(try msi.mux.ledger(msi.attached), raised: 1)

        var msix = try MSIXBench(2, refusal.answer)
        msix.enable()
        msix.request(0)
        let pointed = msix.device.eventFDs
        refusal.begin { $1 == pointed }
        msix.program(0, msix.message(1))
        #expect(msix.mux.routesWaiting == 1 && msix.mux.routesRefused?.errno == ENOMEM)
        #expect(try msix.taken(1) == 0 && msix.taken(0) == 0 && msix.msix.report.kicks == 0)
        refusal.end()
        try msix.mux.commitRoutes()
        #expect(msix.mux.routesWaiting == 0)
        #expect(try msix.taken(1) == 0 && msix.msix.report.kicks == 0)
        msix.raise(0)
        #expect(try msix.taken(1) == 1)
        try msix.expectBalanced(raised: 1)
    }

    @Test("a message that is refused: the vector goes on with its old one, by which it is told where nothing is kept")
    func refusedMessage() throws {
        let refusal = Refusal()
        var msi = try MSIBench(1, refusal.answer)
        try msi.enable(1)
        let bypass = msi.device.eventFDs
        refusal.begin { $1 != bypass }
        msi.redirect(to: 1)
        #expect(msi.msi.registers.refused == 1)
        #expect(try msi.taken(0) == 1 && msi.taken(1) == 0 && msi.msi.report.kicks == 1)
        #expect(try msi.taken(0) == 0, "once")
        refusal.end()
        msi.msi.retry(on: &msi.mux)
        #expect(msi.msi.registers.refused == 0)
        #expect(try msi.taken(0) == 0 && msi.taken(1) == 0 && msi.msi.report.kicks == 1, "nothing was refused")
        msi.raise(0)
        #expect(try msi.taken(1) == 1)
        expectSettled(try msi.mux.ledger(msi.attached), raised: 1)

        var msix = try MSIXBench(2, refusal.answer)
        msix.enable()
        msix.request(0)
        let pointed = msix.device.eventFDs
        refusal.begin { $1 != pointed }
        msix.program(0, msix.message(1))
        #expect(msix.msix.table.isRefused(0))
        #expect(try msix.taken(0) == 0 && msix.taken(1) == 0 && msix.msix.report.kicks == 0)
        refusal.end()
        msix.msix.retry(on: &msix.mux)
        msix.raise(0)
        #expect(try msix.taken(1) == 1 && msix.msix.report.kicks == 0)
        try msix.expectBalanced(raised: 1)
    }

    @Test("several masks that are refused together: each vector is told when the guest unmasks it, of MSI-X none")
    func refusedTogether() throws {
        let refusal = Refusal()
        var msi = try MSIBench(4, refusal.answer)
        try msi.enable(4)
        try msi.mux.commitRoutes()
        refusal.begin { request, numbers in numbers.count > 1 }
        msi.msi.write(offset: 16, width: 4, 0b0111, on: &msi.mux)
        refusal.end()
        #expect(msi.msi.registers.refused == 0, "each was masked by itself")
        for number in 0..<4 as Range<UInt32> { #expect(try msi.taken(number) == 0, "\(number)") }
        #expect(msi.msi.read(offset: 20, width: 4, on: &msi.mux) == 0b0111 && msi.msi.report.kicks == 0)
        msi.msi.write(offset: 16, width: 4, 0, on: &msi.mux)
        for number in 0..<4 as Range<UInt32> { #expect(try msi.taken(number) == (number < 3 ? 1 : 0), "\(number)") }
        #expect(msi.msi.report.kicks == 3)
        for mask in [0b0111, 0] as [UInt32] { msi.msi.write(offset: 16, width: 4, mask, on: &msi.mux) }
        for number in 0..<4 as Range<UInt32> { #expect(try msi.taken(number) == 0, "\(number): once") }
        expectSettled(try msi.mux.ledger(msi.attached), raised: 0)

        var msix = try MSIXBench(4, refusal.answer)
        msix.enable()
        for number in 0..<4 as Range<UInt32> { msix.request(number) }
        try msix.mux.commitRoutes()
        refusal.begin { request, numbers in numbers.count > 1 }
        msix.msix.writeMessageControl(0xC000, on: &msix.mux)
        refusal.end()
        #expect(msix.msix.table.refused == 0 && msix.pending() == 0)
        msix.msix.writeMessageControl(0x8000, on: &msix.mux)
        for number in 0..<4 as Range<UInt32> { #expect(try msix.taken(number) == 0, "\(number)") }
        #expect(msix.msix.report.kicks == 0)
        try msix.expectBalanced(raised: 0)
    }

    // MARK: Signalling nothing

    @Test("a vector that every SET_IRQS is refused for signals nothing, and is told once when it goes past the loop")
    func cutOff() throws {
        let refusal = Refusal()
        var kit = try MSIXBench(2, refusal.answer)
        kit.enable()
        kit.request(0)
        refusal.begin { _, numbers in numbers.contains { $0 >= 0 } }
        kit.program(0, kit.message(1))
        #expect(kit.mux.routesWaiting == 1 && kit.mux.routesRefused?.errno == ENOMEM)
        try kit.mux.commitRoutes()
        #expect(try kit.taken(0) == 0 && kit.taken(1) == 0 && kit.msix.report.kicks == 0, "more may be lost yet")
        refusal.end()
        try kit.mux.commitRoutes()
        #expect(kit.mux.routesWaiting == 0)
        #expect(try kit.taken(1) == 1 && kit.taken(0) == 0 && kit.msix.report.kicks == 1)
        try kit.mux.commitRoutes()
        kit.mask(0)
        kit.unmask(0)
        #expect(try kit.taken(1) == 0 && kit.msix.report.kicks == 1, "once")
        kit.raise(0)
        #expect(try kit.taken(1) == 1)
        try kit.expectBalanced(raised: 1)
    }

    @Test("one that signals nothing before its first batch of routes is told once more when it is bound")
    func cutOffBeforeSettling() throws {
        let refusal = Refusal()
        var kit = try MSIXBench(3, refusal.answer)
        kit.enable()
        for number in 0..<3 as Range<UInt32> { kit.request(number) }
        // The third waits for a batch; nothing that it is assigned is taken.
        #expect(kit.mux.routesWaiting == 1)
        refusal.begin { request, numbers in
            request.start + UInt32(numbers.count) > 2 && numbers.contains { $0 >= 0 }
        }
        #expect(errno { () throws(MuxError) in try kit.msix.repair(on: &kit.mux) } == ENOMEM)
        for number in 0..<3 as Range<UInt32> { #expect(try kit.taken(number) == 1, "\(number)") }
        #expect(kit.msix.report.kicks == 3, "a repair tells them all")
        try kit.mux.commitRoutes()
        #expect(kit.mux.routesWaiting == 1 && kit.msix.report.kicks == 3)
        refusal.end()
        try kit.mux.commitRoutes()
        #expect(kit.mux.routesWaiting == 0)
        for number in 0..<3 as Range<UInt32> { #expect(try kit.taken(number) == (number == 2 ? 1 : 0), "\(number)") }
        #expect(kit.msix.report.kicks == 4)
        for number in 0..<3 as Range<UInt32> {
            kit.raise(number)
            #expect(try kit.taken(number) == 1, "\(number)")
        }
        try kit.expectBalanced(raised: 3)
    }

    // MARK: Nothing lost

    @Test("vectors that come into use, settle, move to new messages and back, masked and unmasked, are told nothing")
    func nothingLost() throws {
        var msi = try MSIBench(4)
        try msi.enable(4)
        try msi.mux.commitRoutes()
        for mask in [0b0010, 0, 0b1111, 0] as [UInt32] { msi.msi.write(offset: 16, width: 4, mask, on: &msi.mux) }
        msi.redirect(to: 4)
        try msi.mux.commitRoutes()
        for number in 0..<8 as Range<UInt32> { #expect(try msi.taken(number) == 0, "\(number)") }
        #expect(msi.msi.report.kicks == 0)
        expectSettled(try msi.mux.ledger(msi.attached), raised: 0)

        var msix = try MSIXBench(4)
        msix.enable()
        for number in 0..<4 as Range<UInt32> { msix.request(number) }
        try msix.mux.commitRoutes()
        msix.mask(1)
        msix.unmask(1)
        for control in [0xC000, 0x8000] as [UInt16] { msix.msix.writeMessageControl(control, on: &msix.mux) }
        msix.program(0, msix.message(2))
        try msix.mux.commitRoutes()
        for number in 0..<4 as Range<UInt32> { #expect(try msix.taken(number) == 0, "\(number)") }
        #expect(msix.msix.report.kicks == 0)
        try msix.expectBalanced(raised: 0)
    }

    @Test("of what the host held back: who lost nothing is not told, and whose signal was held is told by that alone")
    func heldBack() throws {
        var kit = try MSIXBench(4)
        kit.enable()
        for number in 0..<4 as Range<UInt32> { kit.request(number) }
        try kit.mux.commitRoutes()
        for _ in 0..<2 {
            try kit.mux.maskAll(kit.attached)
            try kit.mux.unmaskAll(kit.attached)
        }
        for number in 0..<4 as Range<UInt32> { #expect(try kit.taken(number) == 0, "\(number)") }
        #expect(kit.msix.report.kicks == 0, "nothing was lost")

        try kit.mux.maskAll(kit.attached)
        try kit.msix.repair(on: &kit.mux)
        kit.raise(1)
        kit.mask(2)
        try kit.mux.unmaskAll(kit.attached)
        // 0 and 3 may have lost something; 1 has a signal to tell; 2 is masked by the guest.
        for number in 0..<4 as Range<UInt32> { #expect(try kit.taken(number) == (number == 2 ? 0 : 1), "\(number)") }
        #expect(kit.msix.report.kicks == 2)
        try kit.mux.maskAll(kit.attached)
        try kit.mux.unmaskAll(kit.attached)
        for number in 0..<4 as Range<UInt32> { #expect(try kit.taken(number) == 0, "\(number): once") }
        kit.unmask(2)
        #expect(try kit.taken(2) == 1 && kit.msix.report.kicks == 3)
        try kit.expectBalanced(raised: 1)
    }

    @Test("what the host's hand was behind is counted from where the guest's registers began to be served")
    func countedSince() throws {
        var kit = try MSIXBench(2)
        kit.enable()
        kit.request(0)
        try kit.mux.maskAll(kit.attached)
        try kit.msix.repair(on: &kit.mux)
        try kit.mux.unmaskAll(kit.attached)
        #expect(try kit.taken(0) == 1 && kit.msix.report.kicks == 1)
        kit.msix.reset(on: &kit.mux)
        kit.msix = try GuestMSIX(kit.attached, on: kit.mux)
        #expect(kit.msix.report.kicks == 0)
        kit.enable()
        kit.request(0)
        #expect(try kit.taken(0) == 0 && kit.msix.report.kicks == 0)
    }
}

extension MSIBench {
    /// The guest writes the message of other doorbells, `number` further on.
    fileprivate mutating func redirect(to number: UInt32) {
        guard case .message(_, let data, _) = bench.guest.route(forMessage: 16) else { return }
        msi.write(offset: 12, width: 2, data + number, on: &mux)
    }
}
