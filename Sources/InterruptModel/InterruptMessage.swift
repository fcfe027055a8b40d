/// A message-signalled interrupt: what a device writes, and where.
///
/// Source: PCI Express Base Specification, section 7.7 (MSI and MSI-X capability structures).
public struct InterruptMessage: Equatable, Hashable, Sendable, BitwiseCopyable {
    /// Where the device writes; a multiple of four. 0xFEExxxxx on x86.
    public var address: UInt64
    /// What it writes; on x86 the low byte is the interrupt's vector.
    public var data: UInt32

    /// A message of an address and data.
    public init(address: UInt64, data: UInt32) {
        self.address = address
        self.data = data
    }
}
