internal import CKernel
internal import InterruptModel

/// What a server was told of interrupts: enough to tell it again, to a new server after a reconnect, and to the same
/// one when a later part of a request fails.
///
/// Eventfds are kept as duplicates, since their owner may close his.
struct InterruptRecord: ~Copyable {
    /// Which indexes were enabled by a request.
    private(set) var enabled: Set<IRQIndex> = []
    private var assigned: [IRQIndex: [Int32]] = [:]
    private(set) var unmask: Int32 = -1
    /// INTx was masked by request and not unmasked since.
    private(set) var isMasked = false

    deinit {
        for numbers in assigned.values { for number in numbers where number >= 0 { _ = irqmux_close(number) } }
        if unmask >= 0 { _ = irqmux_close(unmask) }
    }

    /// What `count` vectors from `start` on are assigned to; −1 where nothing is.
    func assignments(_ index: IRQIndex, from start: UInt32, count: Int) -> [Int32] {
        let known = assigned[index] ?? []
        return (Int(start)..<Int(start) + count).map { $0 < known.count ? known[$0] : -1 }
    }

    /// Everything that is assigned of an index.
    func assignments(_ index: IRQIndex) -> [Int32] { assigned[index] ?? [] }

    /// Duplicates the eventfds of a request; `nil` when descriptors run out, or one is not open.
    static func duplicates(of numbers: [Int32]) -> (numbers: [Int32], errno: Int32) {
        var copies: [Int32] = []
        copies.reserveCapacity(numbers.count)
        for number in numbers {
            let copy = number < 0 ? -1 : irqmux_duplicate(number)
            guard copy >= 0 || number < 0 else {
                for earlier in copies where earlier >= 0 { _ = irqmux_close(earlier) }
                return ([], -copy)
            }
            copies.append(copy)
        }
        return (copies, 0)
    }

    static func close(_ copies: [Int32]) { for copy in copies where copy >= 0 { _ = irqmux_close(copy) } }

    /// A request has been carried out. Takes over `copies`, the duplicates of its eventfds.
    mutating func note(_ request: IRQRequest, owning copies: [Int32]) {
        switch (request.action, request.data) {
        case (.trigger, .eventfd): assign(request.index, from: request.start, copies)
        case (.trigger, .none(count: 0)): forget(request.index)
        case (.unmask, .eventfd):
            if unmask >= 0 { _ = irqmux_close(unmask) }
            unmask = copies.first ?? -1
        case (.mask, .none), (.unmask, .none): isMasked = request.action == .mask
        case (.mask, .bool(let bytes)), (.unmask, .bool(let bytes)):
            if bytes.contains(where: { $0 != 0 }) { isMasked = request.action == .mask }
        case (.trigger, .none), (.trigger, .bool): break
        case (.mask, .eventfd): Self.close(copies)
        }
    }

    private mutating func assign(_ index: IRQIndex, from start: UInt32, _ copies: [Int32]) {
        enabled.insert(index)
        var known = assigned[index] ?? []
        let end = Int(start) + copies.count
        if known.count < end { known += Array(repeating: -1, count: end - known.count) }
        for (place, copy) in copies.enumerated() {
            let old = known[Int(start) + place]
            if old >= 0 { _ = irqmux_close(old) }
            known[Int(start) + place] = copy
        }
        assigned[index] = known
    }

    private mutating func forget(_ index: IRQIndex) {
        enabled.remove(index)
        for number in assigned.removeValue(forKey: index) ?? [] where number >= 0 { _ = irqmux_close(number) }
        guard index == .intx else { return }
        if unmask >= 0 { _ = irqmux_close(unmask) }
        unmask = -1
        isMasked = false
    }
}
