internal import CKernel
internal import CLiburing
internal import Synchronization

/// One completion, laid out as the kernel's `struct io_uring_cqe`. The epoll tier makes its own in the same form.
struct Completion: BitwiseCopyable {
    var userData: UInt64
    var result: Int32
    var flags: UInt32
}

/// Owns one io_uring: the mapped queues and the ring's descriptor.
///
/// liburing sets it up and takes it down; the queues are read and written here, because the hot path wants a batch with
/// one acquire and one release and nothing else. The ring is created disabled and belongs to the thread that enables
/// it: from then on only that thread may submit (Linux answers EEXIST to any other, and would still run what that other
/// thread wrote into the queue).
@safe struct Ring: ~Copyable {
    let ring: UnsafeMutablePointer<io_uring>
    let completionHead, completionTail: UnsafePointer<Atomic<UInt32>>
    let submissionHead, submissionTail, submissionFlags: UnsafePointer<Atomic<UInt32>>
    let completions: UnsafePointer<Completion>
    let completionMask: UInt32
    let submissionMask: UInt32
    private let owner = Slab<UInt64>(count: 1, initial: 0)

    private init(adopting ring: UnsafeMutablePointer<io_uring>) {
        // SAFETY: liburing has mapped the queues and filled these pointers; they stay valid until queue_exit in deinit.
        // An aligned 32-bit word shared with the kernel is what Atomic<UInt32> holds.
        unsafe self.ring = ring
        func word(_ pointer: UnsafeMutablePointer<UInt32>) -> UnsafePointer<Atomic<UInt32>> {
            unsafe UnsafeRawPointer(pointer).assumingMemoryBound(to: Atomic<UInt32>.self)
        }
        unsafe completionHead = word(ring.pointee.cq.khead)
        unsafe completionTail = word(ring.pointee.cq.ktail)
        unsafe submissionHead = word(ring.pointee.sq.khead)
        unsafe submissionTail = word(ring.pointee.sq.ktail)
        unsafe submissionFlags = word(ring.pointee.sq.kflags)
        unsafe completions = UnsafeRawPointer(ring.pointee.cq.cqes).assumingMemoryBound(to: Completion.self)
        unsafe completionMask = ring.pointee.cq.kring_mask.pointee
        unsafe submissionMask = ring.pointee.sq.kring_mask.pointee
        // The kernel reads submissions through an index array; with the identity in it, position is index.
        for index in 0...submissionMask { unsafe ring.pointee.sq.array[Int(index)] = index }
    }

    deinit {
        // SAFETY: `ring` came from make(); this is its only owner. A ring descriptor is registered per thread: from any
        // other thread liburing would unregister whatever that thread has in the same place, so it is told not to.
        if irqmux_this_thread() != owner[0] {
            unsafe ring.pointee.int_flags = 0
            unsafe ring.pointee.enter_ring_fd = ring.pointee.ring_fd
        }
        cancelEverything()
        unsafe io_uring_queue_exit(ring)
        unsafe ring.deallocate()
    }

    /// Closing a ring ends its requests only some time later, and a READ that completes meanwhile would write where its
    /// table was. So they are cancelled first, and waited for (since Linux 6.0; before, and from another thread than a
    /// deferred ring's own, the kernel refuses, and for the latter nothing completes without that thread).
    private func cancelEverything() {
        var all = io_uring_sync_cancel_reg()
        all.flags = UInt32(IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY)
        all.timeout.tv_sec = -1
        all.timeout.tv_nsec = -1
        // SAFETY: `ring` is valid for the owner's life, `all` for the call.
        _ = unsafe io_uring_register_sync_cancel(ring, &all)
    }

    /// Binds the ring to the calling thread and lets it run.
    func enable() throws(RingError) {
        // SAFETY: `ring` is valid for the owner's life.
        // (Not io_uring_enable_rings: Debian 12's liburing.so forgot to export it.)
        let enableRings: UInt32 = 12  // IORING_REGISTER_ENABLE_RINGS, an enumerator of an unnamed C enum
        let result = unsafe io_uring_register(UInt32(ring.pointee.ring_fd), enableRings, nil, 0)
        guard result >= 0 else { throw RingError("io_uring_enable_rings", errno: -result) }
        // Spares the kernel's descriptor look-up on every enter. Optional: Linux 5.18.
        _ = unsafe io_uring_register_ring_fd(ring)
        owner[0] = irqmux_this_thread()
    }

    /// Has the kernel signal `eventfd` whenever completions, or work that will make some, are there.
    func notify(_ eventfd: Int32) throws(RingError) {
        // SAFETY: `ring` is valid for the owner's life.
        let result = unsafe io_uring_register_eventfd(ring, eventfd)
        guard result >= 0 else { throw RingError("io_uring_register_eventfd", errno: -result) }
    }
}

// MARK: - The submission queue

extension Ring {
    /// Tail of what has been written into the submission queue; `enter` publishes it to the kernel. liburing's own
    /// field for the same purpose, which nothing else uses here.
    private var written: UInt32 {
        // SAFETY: `ring` is valid for the owner's life, and only its thread submits.
        get { unsafe ring.pointee.sq.sqe_tail }
        nonmutating set { unsafe ring.pointee.sq.sqe_tail = newValue }
    }

    /// Submissions written that the kernel has not taken yet.
    var unsubmitted: UInt32 {
        // SAFETY: the word is mapped for the owner's life.
        written &- (unsafe submissionHead.pointee.load(ordering: .acquiring))
    }

    /// Writes one submission if there is room: `fill` gets a place of the queue. False when the queue is full.
    func submit(_ fill: (UnsafeMutablePointer<io_uring_sqe>) -> Void) -> Bool {
        guard unsubmitted <= submissionMask else { return false }
        // SAFETY: the index is masked to the queue's size, and the kernel has consumed what was in the place.
        unsafe fill(ring.pointee.sq.sqes + Int(written & submissionMask))
        written &+= 1
        return true
    }

    /// Submits what was written and lets the kernel run deferred work. Negative errno on failure.
    func enter() -> Int32 {
        // SAFETY: the words are mapped for the owner's life; release publishes the entries before the tail.
        unsafe submissionTail.pointee.store(written, ordering: .releasing)
        return unsafe irqmux_uring_enter(
            ring.pointee.enter_ring_fd, unsubmitted, enterFlags | UInt32(IORING_ENTER_GETEVENTS))
    }

    /// Fetches without submitting: what a spinning loop does all the time. Negative errno on failure.
    @inline(__always) func fetch() -> Int32 {
        // SAFETY: `ring` is valid for the owner's life.
        unsafe irqmux_uring_enter(ring.pointee.enter_ring_fd, 0, enterFlags | UInt32(IORING_ENTER_GETEVENTS))
    }

    /// The same as `enter`, fetching up to `many` at once. `-ETIME` when there were fewer.
    func enter(many: UInt32) -> Int32 {
        // SAFETY: as in enter().
        unsafe submissionTail.pointee.store(written, ordering: .releasing)
        let flags = enterFlags | UInt32(IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG)
        return unsafe irqmux_uring_enter_many(ring.pointee.enter_ring_fd, unsubmitted, flags, many)
    }

    /// The same as `enter`, then sleeps until a completion is there or `timeout` nanoseconds have passed (`-ETIME`).
    func enterAndWait(timeout: UInt64) -> Int32 {
        // SAFETY: as in enter().
        unsafe submissionTail.pointee.store(written, ordering: .releasing)
        let flags = enterFlags | UInt32(IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG)
        return unsafe irqmux_uring_enter_wait(ring.pointee.enter_ring_fd, unsubmitted, flags, timeout)
    }

    private var enterFlags: UInt32 {
        // SAFETY: `ring` is valid for the owner's life.
        unsafe ring.pointee.enter_ring_fd == ring.pointee.ring_fd ? 0 : UInt32(IORING_ENTER_REGISTERED_RING)
    }

    /// Whether completions overflowed and wait in the kernel.
    var overflowed: Bool {
        // SAFETY: the word is mapped for the owner's life.
        unsafe submissionFlags.pointee.load(ordering: .relaxed) & Self.overflowFlag != 0
    }

    private static var overflowFlag: UInt32 { 1 << 1 }  // IORING_SQ_CQ_OVERFLOW
}

// MARK: - The ladder

extension Ring {
    /// A ring, or the reason why there is none.
    struct Selection: ~Copyable {
        var ring: Ring?
        var tier: RingTier
        var obstacle: RingError?

        consuming func takeRing() -> Ring? { ring }
    }

    /// Walks down the ladder from `best` to what the kernel gives.
    ///
    /// There is no call that asks a kernel which set-up flags it knows (before Linux 6.15): one tries, and EINVAL means
    /// an older kernel. Anything else (EPERM, ENOSYS, ENOMEM) would be the same on the next rung, so it ends at epoll.
    static func select(entries: UInt32, completions: UInt32, best: RingTier) -> Selection {
        var obstacle: RingError?
        for tier in RingTier.allCases where tier <= best && tier != .epoll {
            do throws(RingError) {
                let ring = try make(entries: entries, completions: completions, tier: tier)
                return Selection(ring: ring, tier: tier, obstacle: obstacle)
            } catch {
                obstacle = obstacle ?? error
                guard error.errno == EINVAL else {
                    return Selection(ring: nil, tier: .epoll, obstacle: error)
                }
            }
        }
        return Selection(ring: nil, tier: .epoll, obstacle: obstacle)
    }

    private static func make(entries: UInt32, completions: UInt32, tier: RingTier) throws(RingError) -> Ring {
        var parameters = io_uring_params()
        parameters.flags = flags(of: tier)
        parameters.cq_entries = completions
        let ring = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
        // SAFETY: both structures live until the call returns; the ring's memory until Ring's deinit.
        unsafe ring.initialize(to: io_uring())
        let result = unsafe io_uring_queue_init_params(entries, ring, &parameters)
        guard result >= 0 else {
            unsafe ring.deallocate()
            throw RingError("io_uring_setup", errno: -result, remedy: remedy(for: -result, tier: tier))
        }
        // After a fork the child must not write into the queues that it shares with this process.
        _ = unsafe io_uring_ring_dontfork(ring)
        let made = unsafe Ring(adopting: ring)
        // IORING_FEAT_RSRC_TAGS came with Linux 5.13, as multishot poll did, which has no feature bit of its own.
        let needed = UInt32(IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_RSRC_TAGS)
        guard parameters.features & needed == needed else {
            throw RingError("io_uring_setup", errno: EINVAL, remedy: "multishot poll needs Linux 5.13 or later")
        }
        try made.tryOut()
        return made
    }

    /// A seccomp profile may allow io_uring_setup and forbid the calls that use a ring: found out here, where there is
    /// still epoll to choose, and not by the first wait.
    private func tryOut() throws(RingError) {
        // SAFETY: `ring` is valid for the owner's life.
        let descriptor = unsafe ring.pointee.ring_fd
        let remedy: StaticString = "allow io_uring_setup, _enter and _register in the seccomp profile"
        // A ring that is not enabled yet has only this answer.
        let entered = irqmux_uring_enter(descriptor, 0, 0)
        guard entered == -EBADFD else { throw RingError("io_uring_enter", errno: -entered, remedy: remedy) }
        let unregisterEventFD: UInt32 = 5  // IORING_UNREGISTER_EVENTFD, an enumerator of an unnamed C enum
        // Nothing is registered and nothing passed, so the kernel answers ENXIO.
        let registered = io_uring_register(UInt32(descriptor), unregisterEventFD, nil, 0)
        guard registered == -ENXIO else { throw RingError("io_uring_register", errno: -registered, remedy: remedy) }
    }

    private static func flags(of tier: RingTier) -> UInt32 {
        let common = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED
        return switch tier {
        case .deferred:
            // Without TASKRUN_FLAG: spinning on io_uring_enter is quicker than watching the flag (docs/decisions/0002).
            UInt32(common | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)
        case .cooperative: UInt32(common | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN)
        case .plain, .epoll: UInt32(common)
        }
    }

    private static func remedy(for errno: Int32, tier: RingTier) -> StaticString {
        switch errno {
        case EPERM:
            "io_uring is forbidden: sysctl kernel.io_uring_disabled=0, or allow io_uring_setup in the seccomp profile"
        case ENOSYS: "io_uring is missing here: Linux 5.13 or later, or allow io_uring_setup in the seccomp profile"
        case ENOMEM: "raise RLIMIT_MEMLOCK (ulimit -l): before Linux 5.12 a ring counts against it"
        case EMFILE, ENFILE: "raise RLIMIT_NOFILE (ulimit -n)"
        case EINVAL where tier == .deferred: "DEFER_TASKRUN needs Linux 6.1 or later"
        case EINVAL where tier == .cooperative: "COOP_TASKRUN needs Linux 5.19 or later"
        default: ""
        }
    }
}
