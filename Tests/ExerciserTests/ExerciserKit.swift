import CKernel
import EventRing
import Exerciser
import Foundation
import InterruptModel
import Testing

extension Exerciser {
    /// Assigns the eventfds to `index` from `start` on.
    func assign(_ index: IRQIndex, start: UInt32 = 0, _ numbers: [Int32]) throws {
        let result = try setInterrupts(IRQRequest(index, .trigger, start: start, .eventfd(numbers)))
        #expect(result == 0)
    }

    /// The errno that `request` earns; 0 when it is accepted.
    func errno(of request: IRQRequest) -> Int32 {
        do {
            _ = try setInterrupts(request)
            return 0
        } catch {
            return error.errno
        }
    }

    func register(_ offset: UInt64) throws -> UInt32 {
        UInt32(try readRegion(0, offset: offset, count: 4))
    }

    func register(_ offset: UInt64, _ value: UInt32) throws {
        try writeRegion(0, offset: offset, count: 4, value: UInt64(value))
    }

    /// A 64-bit register, low half first.
    func wideRegister(_ offset: UInt64) throws -> UInt64 {
        let low = UInt64(try register(offset))
        return low | UInt64(try register(offset + 4)) << 32
    }
}

/// Several eventfds with an owner each.
final class EventFDs: Sendable {
    private let owners: [Owner]
    init(_ count: Int) throws { owners = try (0..<count).map { _ in try Owner() } }
    var numbers: [Int32] { owners.map { $0.eventFD.number } }
    func take(_ position: Int) throws -> UInt64 { try owners[position].eventFD.take() }
    func takeAll() throws -> [UInt64] { try owners.map { try $0.eventFD.take() } }

    private final class Owner: Sendable {
        let eventFD: EventFD
        init() throws { eventFD = try EventFD() }
    }
}

/// Waits for something that another thread is about to do; five seconds are for ever on any machine.
func eventually(_ what: Comment, _ condition: () throws -> Bool) rethrows {
    let deadline = irqmux_monotonic_ns() + 5_000_000_000
    while irqmux_monotonic_ns() < deadline {
        if try condition() { return }
        usleep(200)
    }
    Issue.record(what)
}

/// How many descriptors of this process lead to the eventfd behind `number`; the kernel gives each eventfd an id.
func descriptors(toEventFDBehind number: Int32) -> Int {
    func identity(_ number: String) -> Substring? {
        let info = try? String(contentsOfFile: "/proc/self/fdinfo/" + number, encoding: .utf8)
        return info?.split(separator: "\n").first { $0.hasPrefix("eventfd-id") }
    }
    guard let wanted = identity("\(number)") else { return 0 }
    let all = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
    return all.filter { identity($0) == wanted }.count
}

/// Runs `body` for each worker on a thread of its own, all at once however few processors there are.
func inParallel(_ workers: Int, _ body: @escaping @Sendable (Int) -> Void) {
    let group = DispatchGroup()
    for worker in 0..<workers {
        group.enter()
        Thread {
            body(worker)
            group.leave()
        }.start()
    }
    group.wait()
}
