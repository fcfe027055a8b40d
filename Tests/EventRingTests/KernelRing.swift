import CLiburing
import Glibc
import Testing

/// A bare io_uring by way of liburing, for looking at what the kernel itself does.
@safe final class KernelRing {
    struct Answer: Equatable {
        var token: UInt64
        var result: Int32
        var flags: UInt32
        /// Whether more will come of the same request.
        var more: Bool { flags & 2 != 0 }  // IORING_CQE_F_MORE
    }

    static let deferred = UInt32(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)
    let features: UInt32
    private let ring: UnsafeMutablePointer<io_uring>
    private let words: UnsafeMutablePointer<UInt64>

    init(entries: UInt32 = 16, completions: UInt32 = 0, flags: UInt32 = KernelRing.deferred) throws {
        var parameters = io_uring_params()
        parameters.flags = flags | (completions > 0 ? UInt32(IORING_SETUP_CQSIZE) : 0)
        parameters.cq_entries = completions
        // SAFETY: freshly allocated and initialised; freed in deinit.
        unsafe ring = .allocate(capacity: 1)
        unsafe ring.initialize(to: io_uring())
        unsafe words = .allocate(capacity: 16)
        unsafe words.initialize(repeating: 0, count: 16)
        let result = unsafe io_uring_queue_init_params(entries, ring, &parameters)
        features = parameters.features
        try #require(result == 0, "io_uring_setup: \(result)")
    }

    deinit {
        // SAFETY: made in init. The buffers are freed after the ring let go of them.
        unsafe io_uring_queue_exit(ring)
        unsafe ring.deallocate()
        unsafe words.deallocate()
    }

    // SAFETY: the ring lives as long as self.
    var descriptor: Int32 { unsafe ring.pointee.ring_fd }
    // SAFETY: as above.
    var unsubmitted: UInt32 { unsafe io_uring_sq_ready(ring) }
    // SAFETY: the flags word is mapped as long as the ring.
    var overflowed: Bool { unsafe io_uring_cq_has_overflow(ring) }

    /// What a READ with this token has stored.
    func word(_ token: UInt64) -> UInt64 {
        precondition(token < 16)
        // SAFETY: 16 words, checked above.
        return unsafe words[Int(token)]
    }

    private func entry(_ token: UInt64, _ fill: (UnsafeMutablePointer<io_uring_sqe>) -> Void) {
        // SAFETY: get_sqe gives a free place or null; tests stay within the queue.
        guard let place = unsafe io_uring_get_sqe(ring) else { preconditionFailure("submission queue full") }
        unsafe fill(place)
        unsafe io_uring_sqe_set_data64(place, token)
    }

    func poll(_ descriptor: Int32, token: UInt64, multishot: Bool = true, level: Bool = false, linked: Bool = false) {
        // SAFETY: `place` is a free place of the queue.
        unsafe entry(token) { place in
            unsafe io_uring_prep_poll_add(place, descriptor, UInt32(POLLIN))
            if multishot { unsafe place.pointee.len |= 1 }  // IORING_POLL_ADD_MULTI
            if level { unsafe place.pointee.len |= 1 << 3 }  // IORING_POLL_ADD_LEVEL
            if linked { unsafe place.pointee.flags |= 1 << 2 }  // IOSQE_IO_LINK
        }
    }

    func read(_ descriptor: Int32, token: UInt64, length: UInt32 = 8) {
        precondition(token < 15)
        // SAFETY: the buffer is one of `words`, which outlive the ring; sixteen bytes still lie inside.
        unsafe entry(token) { unsafe io_uring_prep_read($0, descriptor, words + Int(token), length, 0) }
    }

    func cancel(_ target: UInt64, token: UInt64) {
        // SAFETY: a free place of the queue.
        unsafe entry(token) { unsafe io_uring_prep_cancel64($0, target, 0) }
    }

    func removePoll(_ target: UInt64, token: UInt64) {
        // SAFETY: a free place of the queue.
        unsafe entry(token) { unsafe io_uring_prep_poll_remove($0, target) }
    }

    /// Asks to change a poll's events and to make it multishot.
    func updateToMultishot(_ target: UInt64, token: UInt64) {
        // SAFETY: a free place of the queue. IORING_POLL_ADD_MULTI | IORING_POLL_UPDATE_EVENTS.
        unsafe entry(token) { unsafe io_uring_prep_poll_update($0, target, target, UInt32(POLLIN), 1 | 1 << 1) }
    }

    func noOperation(token: UInt64) {
        // SAFETY: a free place of the queue.
        unsafe entry(token) { unsafe io_uring_prep_nop($0) }
    }

    /// A request of no known kind, which the kernel refuses while it submits.
    func nonsense(token: UInt64) {
        // SAFETY: a free place of the queue.
        unsafe entry(token) { place in
            unsafe io_uring_prep_nop(place)
            unsafe place.pointee.opcode = 0xff
        }
    }

    // SAFETY: the ring lives as long as self.
    @discardableResult func submit() -> Int32 { unsafe io_uring_submit(ring) }

    /// Submits and lets deferred work run, without waiting.
    // SAFETY: the ring lives as long as self.
    @discardableResult func enter() -> Int32 { unsafe io_uring_submit_and_get_events(ring) }

    /// Submits, then waits for `count` completions for at most `milliseconds`. Negative errno.
    func wait(for count: UInt32, milliseconds: Int) -> Int32 {
        var first: UnsafeMutablePointer<io_uring_cqe>?
        var limit = __kernel_timespec()
        limit.tv_nsec = Int64(milliseconds) * 1_000_000
        // SAFETY: all pointers are valid for the call.
        return unsafe io_uring_submit_and_wait_timeout(ring, &first, count, &limit, nil)
    }

    // SAFETY: the ring lives as long as self.
    func register(eventfd: Int32) -> Int32 { unsafe io_uring_register_eventfd(ring, eventfd) }

    /// Takes what is in the completion queue, after letting deferred work run.
    func fetch() -> [Answer] {
        enter()
        var answers: [Answer] = []
        var entry: UnsafeMutablePointer<io_uring_cqe>?
        // SAFETY: peek gives a filled entry or nothing; it is copied before it is given back.
        while unsafe io_uring_peek_cqe(ring, &entry) == 0, let found = unsafe entry {
            unsafe answers.append(
                Answer(token: found.pointee.user_data, result: found.pointee.res, flags: found.pointee.flags))
            unsafe io_uring_cqe_seen(ring, found)
        }
        return answers
    }

    /// Lets a request run and gives its only answer.
    func answer(to token: UInt64) throws -> Answer {
        let answers = fetch().filter { $0.token == token }
        try #require(answers.count == 1)
        return answers[0]
    }
}
