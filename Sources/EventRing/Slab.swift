/// A fixed number of plain values at one address for life: what the kernel writes into and the hot path indexes.
///
/// Bounds are checked on every access. Zero-initialised memory of whole pages, so that an untouched part costs nothing.
@safe @frozen public struct Slab<Element: BitwiseCopyable>: ~Copyable {
    /// How many elements there are.
    public let count: Int
    /// The address of the first element, for handing to the kernel. Valid as long as the slab.
    public let base: UnsafeMutablePointer<Element>

    /// Allocates `count` elements, each a copy of `initial`.
    @inlinable public init(count: Int, initial: Element) {
        self.count = count
        // SAFETY: freshly allocated for count elements, all of them initialised here.
        unsafe base = .allocate(capacity: max(count, 1))
        unsafe base.initialize(repeating: initial, count: count)
    }

    @inlinable deinit {
        // SAFETY: allocated in init; BitwiseCopyable elements need no deinitialisation.
        unsafe base.deallocate()
    }

    /// The element at `index`, in place. Traps when there is none.
    public subscript(index: UInt32) -> Element {
        @inlinable @inline(__always) unsafeAddress {
            precondition(Int(index) < count, "index outside the slab")
            // SAFETY: index was checked on the line above.
            return unsafe UnsafePointer(base + Int(index))
        }
        @inlinable @inline(__always) nonmutating unsafeMutableAddress {
            precondition(Int(index) < count, "index outside the slab")
            // SAFETY: index was checked on the line above; one thread only ever owns the slab's loop.
            return unsafe base + Int(index)
        }
    }
}
