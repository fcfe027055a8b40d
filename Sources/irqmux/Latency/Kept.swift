internal import CKernel
internal import EventRing
internal import Synchronization

/// A value that one thread keeps for another.
final class Kept<Value: Sendable>: Sendable {
    private let cell = Mutex<Value?>(nil)

    var value: Value? { cell.withLock { $0 } }

    func keep(_ value: Value) { cell.withLock { $0 = value } }
}

/// Owns what cannot be copied, so that an array can hold it.
final class Owned<Value: ~Copyable & Sendable>: Sendable {
    let value: Value

    init(_ value: consuming Value) { self.value = value }
}

extension Owned where Value == EventFD {
    /// As many eventfds as there are lanes.
    static func eventFDs(_ count: Int) throws(RingError) -> [Owned<EventFD>] {
        var eventFDs: [Owned<EventFD>] = []
        for _ in 0..<count { eventFDs.append(Owned(try EventFD())) }
        return eventFDs
    }
}
