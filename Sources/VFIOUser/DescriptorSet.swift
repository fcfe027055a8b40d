internal import CKernel

/// Descriptors that came with a message. What nobody takes out is closed with it.
public struct DescriptorSet: ~Copyable, Sendable {
    private var numbers: [Int32]

    /// None.
    public init() { numbers = [] }

    /// Takes over open descriptors.
    public init(owning numbers: [Int32]) { self.numbers = numbers }

    deinit { for number in numbers where number >= 0 { _ = irqmux_close(number) } }

    /// How many came.
    public var count: Int { numbers.count }

    /// The descriptors' numbers, which stay the set's own; −1 for one that was taken.
    public var all: [Int32] { numbers }

    /// Gives up one descriptor; −1 when there is none at that place, or it was taken before.
    public mutating func take(_ place: Int) -> Int32 {
        guard numbers.indices.contains(place) else { return -1 }
        let number = numbers[place]
        numbers[place] = -1
        return number
    }

    mutating func add(owning more: [Int32]) { numbers += more }
}
