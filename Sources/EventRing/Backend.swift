internal import CKernel
internal import CLiburing

/// What listens: a ring, or epoll. Everything above is one and the same code; both fill a completion queue.
enum Backend: ~Copyable {
    case ring(Ring)
    case epoll(EpollTier)

    var queue: CompletionQueue {
        switch self {
        case .ring(let ring): CompletionQueue(ring)
        case .epoll(let tier): CompletionQueue(tier)
        }
    }

    /// The calling thread is the one that will wait.
    func bind() throws(RingError) {
        switch self {
        case .ring(let ring): try ring.enable()
        case .epoll: break
        }
    }

    /// Written requests that the kernel has not taken yet.
    var unsubmitted: UInt32 {
        switch self {
        case .ring(let ring): ring.unsubmitted
        case .epoll: 0
        }
    }

    /// A descriptor that is readable when something is ready; −1 for a ring, which needs an eventfd for that.
    var pollable: Int32 {
        switch self {
        case .ring: -1
        case .epoll(let tier): tier.descriptor
        }
    }

    /// Whether completions are waiting in the kernel because the queue was full.
    var overflowed: Bool {
        switch self {
        case .ring(let ring): ring.overflowed
        case .epoll: false
        }
    }

    /// Submits, and fetches what is ready. Negative errno on failure.
    func enter(_ sources: borrowing Slab<Source>) -> Int32 {
        switch self {
        case .ring(let ring): ring.enter()
        case .epoll(let tier): tier.wait(timeout: 0, sources)
        }
    }

    /// Fetches what is ready, again and again, until there is something past `position`, `control` wants attention, the
    /// kernel reports an error, or `rounds` are over. Returns the last result, and how many rounds it took.
    func spin(
        past position: UInt32, _ queue: CompletionQueue, _ control: LoopControl, rounds: UInt64,
        _ sources: borrowing Slab<Source>
    ) -> (result: Int32, rounds: UInt64) {
        var result: Int32 = 0
        var round: UInt64 = 0
        repeat {
            switch self {
            case .ring(let ring): result = ring.fetch()
            case .epoll(let tier): result = tier.wait(timeout: 0, sources)
            }
            round &+= 1
        } while round < rounds && result >= 0 && queue.end == position && !control.wantsAttention
        return (result, round)
    }

    /// Submits, and fetches up to `many` of what is ready. Negative errno on failure.
    func enter(many: UInt32, _ sources: borrowing Slab<Source>) -> Int32 {
        switch self {
        case .ring(let ring): ring.enter(many: many)
        case .epoll(let tier): tier.wait(timeout: 0, sources)
        }
    }

    /// Submits, and waits for at most `timeout` nanoseconds. Negative errno on failure.
    func wait(timeout: UInt64, _ sources: borrowing Slab<Source>) -> Int32 {
        switch self {
        case .ring(let ring): ring.enterAndWait(timeout: timeout)
        case .epoll(let tier): tier.wait(timeout: timeout, sources)
        }
    }

    /// Starts listening to a source. False when the submission queue is full. A failure arrives as a completion.
    func arm(_ index: UInt32, _ sources: borrowing Slab<Source>) -> Bool {
        let descriptor = sources[index].descriptor
        let token = Token(.source, index: index, generation: sources[index].generation).bits
        switch self {
        case .epoll(let tier):
            tier.arm(index, descriptor: descriptor, delivery: sources[index].delivery, token: token)
            return true
        case .ring(let ring):
            if sources[index].delivery == .edge {
                // SAFETY: `entry` is a free place of the submission queue.
                return unsafe ring.submit { entry in
                    unsafe io_uring_prep_poll_multishot(entry, descriptor, EPOLLIN.rawValue)
                    unsafe io_uring_sqe_set_data64(entry, token)
                }
            }
            // SAFETY: the table lives until the ring is closed.
            return unsafe ring.submitRead(descriptor, into: sources.counterAddress(index), token: token)
        }
    }

    /// Stops listening to a source: its request ends with a last completion. False when the submission queue is full.
    func cancel(_ index: UInt32, generation: UInt32) -> Bool {
        let target = Token(.source, index: index, generation: generation).bits
        let token = Token(.cancel, index: index, generation: generation).bits
        switch self {
        case .epoll(let tier):
            // epoll forgets at once. A one-shot that fired before has its last completion in the queue already.
            if tier.disarm(index) { tier.complete(Completion(userData: target, result: -ECANCELED, flags: 0)) }
            return true
        case .ring(let ring):
            // SAFETY: `entry` is a free place of the submission queue.
            return unsafe ring.submit { entry in
                unsafe io_uring_prep_cancel64(entry, target, 0)
                unsafe io_uring_sqe_set_data64(entry, token)
            }
        }
    }

    /// Whether the wake-up eventfd is listened to without `armWakeUp`.
    var hearsWakeUps: Bool {
        switch self {
        case .ring: false
        case .epoll: true
        }
    }

    /// Listens once to the loop's wake-up eventfd. One-shot, so that a storm of wake-ups is one completion.
    /// False when the submission queue is full; epoll listens from the beginning.
    func armWakeUp(_ descriptor: Int32, _ buffer: borrowing Slab<UInt64>) -> Bool {
        switch self {
        case .epoll: true
        case .ring(let ring):
            // SAFETY: the slab lives until the ring is closed.
            unsafe ring.submitRead(descriptor, into: UnsafeMutableRawPointer(buffer.base), token: Token(.wakeUp).bits)
        }
    }

    /// The wake-up arrived.
    func settleWakeUp(_ wake: borrowing EventFD) -> Bool {
        switch self {
        case .ring: return false
        case .epoll:
            _ = try? wake.take()
            return true
        }
    }
}

extension Ring {
    /// A one-shot READ of an eventfd: exactly eight bytes, for kernels differ in what they do with any other length.
    fileprivate func submitRead(_ descriptor: Int32, into address: UnsafeMutableRawPointer, token: UInt64) -> Bool {
        // SAFETY: the caller's address stays valid until the ring is closed; `entry` is a free place of the queue.
        unsafe submit { entry in
            unsafe io_uring_prep_read(entry, descriptor, address, 8, 0)
            unsafe io_uring_sqe_set_data64(entry, token)
        }
    }
}

extension Slab<Source> {
    /// Where the kernel puts a source's count.
    fileprivate func counterAddress(_ index: UInt32) -> UnsafeMutableRawPointer {
        precondition(Int(index) < count, "index outside the slab")
        // SAFETY: index was checked on the line above; the offset is the field's.
        return unsafe UnsafeMutableRawPointer(base + Int(index)) + Source.counterOffset
    }
}
