/// One `VFIO_DEVICE_SET_IRQS` request as a value.
///
/// Source: `struct vfio_irq_set` in `<linux/vfio.h>`.
public struct IRQRequest: Equatable, Sendable {
    /// What to do with the vectors (`VFIO_IRQ_SET_ACTION_*`).
    public enum Action: UInt32, Sendable {
        /// Stop delivery.
        case mask = 0x08
        /// Resume delivery.
        case unmask = 0x10
        /// Assign eventfds, raise from software, or, with no data and no vectors, disable the index.
        case trigger = 0x20
    }

    /// What comes with the request, one element a vector (`VFIO_IRQ_SET_DATA_*`).
    public enum Data: Equatable, Sendable {
        /// `count` vectors, no payload.
        case none(count: UInt32)
        /// One byte a vector; any non-zero byte is true to the kernel.
        case bool([UInt8])
        /// One eventfd a vector; a negative number takes the assignment away.
        case eventfd([Int32])
    }

    /// The group of vectors.
    public var index: IRQIndex
    /// What to do.
    public var action: Action
    /// The first vector.
    public var start: UInt32
    /// The payload, which also says how many vectors.
    public var data: Data

    /// Makes a request. Nothing is checked here: the model and the device say what they think of it.
    public init(_ index: IRQIndex, _ action: Action, start: UInt32 = 0, _ data: Data) {
        self.index = index
        self.action = action
        self.start = start
        self.data = data
    }
}
