internal import CAllocationCounter

/// Whether `allocations(during:)` counts: not under a sanitizer, which stands in for malloc itself.
public var allocationsAreCounted: Bool { irqmux_allocations_are_counted() }

/// How often the calling thread asks for memory while `body` runs.
///
/// Only this thread's calls count, so tests may run side by side. Run what is measured once beforehand: the first call
/// of anything may allocate what the runtime keeps. Tests are not optimised, and a loop over a range of anything but
/// `Int` allocates there at every step: count with `Int` inside `body`.
public func allocations<Failure: Error>(during body: () throws(Failure) -> Void) throws(Failure) -> UInt64 {
    let before = irqmux_allocations_on_this_thread()
    try body()
    return irqmux_allocations_on_this_thread() - before
}

/// Bytes of the heap that are in use, of all threads: for a process of its own, where nobody else allocates.
public func heapBytesInUse() -> Int { Int(irqmux_heap_bytes_in_use()) }
