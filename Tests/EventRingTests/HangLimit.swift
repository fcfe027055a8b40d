import Foundation
import Synchronization
import Testing

/// Ends the test process when a test hangs: a time limit of Swift Testing's cannot stop a test that does not await.
struct HangLimit: SuiteTrait, TestTrait, TestScoping {
    var isRecursive: Bool { true }

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        guard testCase != nil else { return try await function() }
        let ticket = HangWatch.shared.begin(test.displayName ?? test.name)
        defer { HangWatch.shared.end(ticket) }
        try await function()
    }
}

extension Trait where Self == HangLimit {
    /// Half a minute for each case (`IRQMUX_HANG_LIMIT` seconds, for emulated machines), then the process ends with the
    /// test's name.
    static var hangLimit: HangLimit { HangLimit() }
}

private final class HangWatch: Sendable {
    static let shared = HangWatch()
    private let running = Mutex<[Int: (name: String, since: Int)]>([:])
    private let tickets = Atomic<Int>(0)
    private let limit = ProcessInfo.processInfo.environment["IRQMUX_HANG_LIMIT"].flatMap { Int($0) } ?? 30

    private init() {
        Thread.detachNewThread { [self] in
            while true {
                usleep(500_000)
                look()
            }
        }
    }

    func begin(_ name: String) -> Int {
        let ticket = tickets.add(1, ordering: .relaxed).newValue
        running.withLock { $0[ticket] = (name, time(nil)) }
        return ticket
    }

    func end(_ ticket: Int) { running.withLock { _ = $0.removeValue(forKey: ticket) } }

    private func look() {
        let now = time(nil)
        let hung = running.withLock { $0.values.filter { now - $0.since > limit }.map(\.name) }
        guard !hung.isEmpty else { return }
        FileHandle.standardError.write(Data("hung for \(limit) s: \(hung.joined(separator: "; "))\n".utf8))
        abort()
    }
}
