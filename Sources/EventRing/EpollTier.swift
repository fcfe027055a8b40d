internal import CKernel
internal import Synchronization

/// The last resort where io_uring is missing or forbidden: epoll behind a completion queue of our own, so that
/// everything above it is the same code.
///
/// Each armed source is a duplicate of the caller's descriptor: as with a ring, closing the original does not disturb
/// what is armed, and one eventfd may be two sources.
@safe struct EpollTier: ~Copyable {
    let descriptor: Int32
    let entries: UnsafeMutablePointer<Completion>
    let head, tail: UnsafePointer<Atomic<UInt32>>
    let mask: UInt32
    private let words: UnsafeMutablePointer<Atomic<UInt32>>
    private let events: UnsafeMutablePointer<epoll_event>
    private let duplicates: Slab<Int32>
    private static var batch: Int { 256 }

    /// Makes a tier for `capacity` sources; its queue has room for an entry of each, a wake-up and as many failures.
    init(capacity: Int) throws(RingError) {
        let made = irqmux_epoll_create()
        guard made >= 0 else { throw RingError("epoll_create1", errno: -made) }
        descriptor = made
        var size = 64
        while size < capacity * 2 + 2 { size *= 2 }
        mask = UInt32(size - 1)
        duplicates = Slab(count: capacity, initial: -1)
        // SAFETY: freshly allocated, initialised before use, freed in deinit.
        unsafe entries = .allocate(capacity: size)
        unsafe entries.initialize(repeating: Completion(userData: 0, result: 0, flags: 0), count: size)
        unsafe events = .allocate(capacity: Self.batch)
        unsafe words = .allocate(capacity: 2)
        for word in 0..<2 { unsafe (words + word).initialize(to: Atomic(0)) }
        unsafe head = UnsafePointer(words)
        unsafe tail = UnsafePointer(words + 1)
    }

    deinit {
        for index in 0..<UInt32(duplicates.count) where duplicates[index] >= 0 { _ = irqmux_close(duplicates[index]) }
        _ = irqmux_close(descriptor)
        // SAFETY: allocated in init.
        unsafe entries.deallocate()
        unsafe events.deallocate()
        unsafe words.deallocate()
    }

    /// Whether the queue has room for another entry of every source.
    private var room: UInt32 {
        // SAFETY: the words live as long as self.
        unsafe mask &+ 1 &- (tail.pointee.load(ordering: .relaxed) &- head.pointee.load(ordering: .acquiring))
    }

    /// Appends a completion as a kernel would.
    func complete(_ completion: Completion) {
        // SAFETY: the queue has room for all that can be under way (see init); the index is masked.
        let position = unsafe tail.pointee.load(ordering: .relaxed)
        unsafe entries[Int(position & mask)] = completion
        unsafe tail.pointee.store(position &+ 1, ordering: .releasing)
    }

    /// Listens for the loop's wake-up eventfd.
    func armWakeUp(_ eventfd: Int32) throws(RingError) {
        let result = irqmux_epoll_control(descriptor, EPOLL_CTL_ADD, eventfd, EPOLLIN.rawValue, Token(.wakeUp).bits)
        guard result == 0 else { throw RingError("epoll_ctl", errno: -result) }
    }

    /// Arms a source; a failure arrives as a completion, as with a ring.
    func arm(_ index: UInt32, descriptor source: Int32, delivery: Delivery, token: UInt64) {
        var result = irqmux_duplicate(source)
        if result >= 0 {
            duplicates[index] = result
            let style = delivery == .edge ? EPOLLET.rawValue : EPOLLONESHOT.rawValue
            let events = EPOLLIN.rawValue | style
            result = irqmux_epoll_control(descriptor, EPOLL_CTL_ADD, duplicates[index], events, token)
            if result < 0 { disarm(index) }
        }
        if result < 0 { complete(Completion(userData: token, result: result, flags: 0)) }
    }

    /// Stops listening, at once. False when it was not listening.
    @discardableResult
    func disarm(_ index: UInt32) -> Bool {
        guard duplicates[index] >= 0 else { return false }
        // Closing the only descriptor of a duplicate would not remove it: the original keeps the file open.
        _ = irqmux_epoll_control(descriptor, EPOLL_CTL_DEL, duplicates[index], 0, 0)
        _ = irqmux_close(duplicates[index])
        duplicates[index] = -1
        return true
    }

    /// Waits for at most `timeout` nanoseconds and turns what is ready into completions. Negative errno on failure.
    func wait(timeout: UInt64, _ sources: borrowing Slab<Source>) -> Int32 {
        let capacity = min(Self.batch, Int(room) / 2)
        guard capacity > 0 else { return 0 }
        // SAFETY: `events` has room for `batch` entries.
        let ready = unsafe irqmux_epoll_wait(descriptor, events, Int32(capacity), timeout)
        guard ready > 0 else { return ready }
        for position in 0..<Int(ready) {
            // SAFETY: the kernel filled the first `ready` entries.
            let token = unsafe Token(bits: events[position].data.u64)
            token.kindBits == Token.Kind.wakeUp.rawValue
                ? complete(Completion(userData: token.bits, result: 8, flags: 0))
                : report(token, sources)
        }
        return ready
    }

    private func report(_ token: Token, _ sources: borrowing Slab<Source>) {
        guard sources[token.index].delivery != .edge else {
            return complete(Completion(userData: token.bits, result: Int32(EPOLLIN.rawValue), flags: Self.more))
        }
        // A counted source is a one-shot READ: take the counter where the kernel would have put it.
        var count: UInt64 = 0
        // SAFETY: the pointer is valid for the call.
        let result = unsafe irqmux_eventfd_take_without_waiting(duplicates[token.index], &count)
        disarm(token.index)
        sources[token.index].counter = count
        complete(Completion(userData: token.bits, result: result == 0 ? 8 : result, flags: 0))
    }

    private static var more: UInt32 { 1 << 1 }  // IORING_CQE_F_MORE
}
