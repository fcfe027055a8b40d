import CKernel
import InterruptModel
import Testing

/// File descriptors of a made-up process: 100…4999 are eventfds, 5000…5999 other files, everything else is not open.
enum Descriptors {
    static func lookUp(_ number: Int32) -> EventFDLookup {
        switch number {
        case 100..<5000: .eventFD(identity: UInt64(number))
        case 5000..<6000: .otherFile(identity: UInt64(number))
        default: .notOpen
        }
    }
    static let otherFile: Int32 = 5000
    static let notOpen: Int32 = 9000
}

extension DeviceInterrupts {
    /// Applies a request whose outcome does not matter, or must be success.
    mutating func run(_ request: IRQRequest) -> Outcome { apply(request, lookUp: Descriptors.lookUp) }

    /// A device to which `requests` were applied, each of them with success.
    static func after(
        _ requests: [IRQRequest], _ profile: DeviceProfile = DeviceProfile(), _ dialect: Dialect = .linux
    ) -> DeviceInterrupts {
        var device = DeviceInterrupts(profile, dialect)
        for request in requests {
            let outcome = device.run(request)
            #expect(outcome.verdict == .done, "set-up \(request) gave \(outcome)")
        }
        return device
    }

    func number(_ vector: Vector) -> Int32? { eventFD(vector)?.number }
}

/// One row of a table: what was done before, the request, and everything that is to come of it.
struct Row: Sendable, CustomTestStringConvertible {
    var name: String
    var before: [IRQRequest] = []
    var request: IRQRequest
    var result: Int32
    var reason: Reason
    var signals: [Int32] = []
    var profile = DeviceProfile()
    var dialect = Dialect.linux
    /// What the vectors of the row hold afterwards.
    var after: [Vector: Int32?] = [:]
    var active: IRQIndex??
    var testDescription: String { name }

    func check() {
        let start = DeviceInterrupts.after(before, profile, dialect)
        var device = start
        let outcome = device.run(request)
        #expect(outcome.returnValue == result, "\(name): \(outcome)")
        #expect(outcome.reason == reason, "\(name): \(outcome)")
        #expect(outcome.signals.map(\.number) == signals, "\(name): \(outcome)")
        for (vector, number) in after { #expect(device.number(vector) == number, "\(name): \(vector)") }
        if let active { #expect(device.activeType == active, "\(name)") }
        if result != 0 && outcome.changes.isEmpty { #expect(device == start, "\(name): state changed silently") }
    }
}

extension IRQRequest {
    static func trigger(_ index: IRQIndex, start: UInt32 = 0, _ numbers: [Int32]) -> IRQRequest {
        IRQRequest(index, .trigger, start: start, .eventfd(numbers))
    }
    static func loopBack(_ index: IRQIndex, start: UInt32 = 0, count: UInt32) -> IRQRequest {
        IRQRequest(index, .trigger, start: start, .none(count: count))
    }
    static func disable(_ index: IRQIndex) -> IRQRequest { IRQRequest(index, .trigger, .none(count: 0)) }
}

/// SplitMix64: small, seedable, the same everywhere.
struct Dice: RandomNumberGenerator {
    var state: UInt64
    init(_ seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
    mutating func pick<T>(_ values: [T]) -> T { values[Int.random(in: 0..<values.count, using: &self)] }
    mutating func below(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &self) }
}

/// Sixteen fixed seeds, and one that is new on every run; failures print theirs.
let seeds: [UInt64] = Array(1...16) + [UInt64.random(in: 0...UInt64.max)]
