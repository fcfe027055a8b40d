internal import CKernel
internal import CLiburing

// Signalling many eventfds at once: one WRITE request each, and one system call for all of them. A request costs less
// than a write(2) only when the kernel need not look its file up, so targets are registered beforehand; and even then
// one enter has to be shared by a dozen of them (docs/decisions/0007 has the numbers).
extension EventLoop {
    /// Whether signals can be collected and sent together: on a ring of `cooperative` or better, made with
    /// `LoopOptions.targets`. Otherwise use write(2).
    public var batchesSignals: Bool { hasTargets && owner != 0 }

    /// Registers an eventfd under a number below `LoopOptions.targets`, in place of what is there.
    ///
    /// The eventfd must be O_NONBLOCK: for any other io_uring starts a thread that may wait. The ring keeps the eventfd
    /// itself; the descriptor may be closed. Off the hot path: a system call.
    /// - Returns: False when it is no descriptor, the number is out of range, or the loop has no batches.
    public mutating func setTarget(_ number: UInt32, _ eventfd: Int32) -> Bool {
        guard hasTargets, number < UInt32(options.targets) else { return false }
        return backend.registerFile(number, eventfd)
    }

    /// Forgets a target. What was queued for it is sent first.
    public mutating func clearTarget(_ number: UInt32) {
        guard hasTargets, number < UInt32(options.targets) else { return }
        if owner != 0 { sendSignals() }
        _ = backend.registerFile(number, -1)
    }

    /// Adds 1 to the counter of a target's eventfd with the next `sendSignals`; in the order of the calls.
    ///
    /// Only on a loop that `batchesSignals`. A counter that is full stays as it is.
    /// - Returns: False when the queue was full and the kernel took nothing: then write(2) has to do.
    public mutating func queueSignal(_ target: UInt32) -> Bool {
        if backend.signal(target, signalBuffer) { return true }
        sendSignals()
        return backend.signal(target, signalBuffer)
    }

    /// Sends what `queueSignal` collected, with one system call. When the kernel takes nothing at the moment, the next
    /// wait sends it.
    public mutating func sendSignals() {
        guard backend.unsubmitted > 0 else { return }
        statistics.systemCalls &+= 1
        statistics.signalBatches &+= 1
        _ = backend.submitOnly()
    }
}

extension Backend {
    /// Makes room for `count` registered files. False where there can be none.
    func makeTargets(_ count: Int, tier: RingTier) -> Bool {
        // Before Linux 5.17 a request cannot keep silent about its success; these tiers are newer than that.
        guard count > 0, tier >= .cooperative else { return false }
        switch self {
        case .epoll: return false
        case .ring(let ring): return ring.makeFileTable(UInt32(count))
        }
    }

    fileprivate func registerFile(_ number: UInt32, _ descriptor: Int32) -> Bool {
        switch self {
        case .epoll: return false
        case .ring(let ring): return ring.registerFile(number, descriptor)
        }
    }

    /// Writes a request that adds 1 to a target. False when there is no room.
    fileprivate func signal(_ target: UInt32, _ one: borrowing Slab<UInt64>) -> Bool {
        switch self {
        case .epoll: return false
        case .ring(let ring):
            // SAFETY: the slab holds a 1 that nobody changes, and lives until the ring is closed; `entry` is a free
            // place of the queue.
            return unsafe ring.submit { entry in
                unsafe io_uring_prep_write(entry, Int32(target), UnsafeRawPointer(one.base), 8, UInt64.max)
                unsafe entry.pointee.flags = Self.silentAndRegistered
                unsafe io_uring_sqe_set_data64(entry, Token(.signal).bits)
            }
        }
    }

    /// Submits without looking for completions.
    fileprivate func submitOnly() -> Int32 {
        switch self {
        case .epoll: return 0
        case .ring(let ring): return ring.submitOnly()
        }
    }

    // IOSQE_CQE_SKIP_SUCCESS | IOSQE_FIXED_FILE: macros over enumerators, which are not imported.
    private static var silentAndRegistered: UInt8 { 1 << 6 | 1 }
}

extension Ring {
    /// Registers an empty table of files.
    fileprivate func makeFileTable(_ count: UInt32) -> Bool {
        var table = io_uring_rsrc_register()
        table.nr = count
        table.flags = 1  // IORING_RSRC_REGISTER_SPARSE, Linux 5.19
        let registerFiles: UInt32 = 13  // IORING_REGISTER_FILES2, an enumerator of an unnamed C enum
        // SAFETY: `ring` is valid for the owner's life, `table` for the call.
        return unsafe io_uring_register(
            UInt32(ring.pointee.ring_fd), registerFiles, &table, UInt32(MemoryLayout<io_uring_rsrc_register>.size)) >= 0
    }

    /// Puts a file into the table; −1 empties the place.
    fileprivate func registerFile(_ number: UInt32, _ descriptor: Int32) -> Bool {
        var descriptor = descriptor
        let updateFiles: UInt32 = 6  // IORING_REGISTER_FILES_UPDATE
        // SAFETY: the pointer is valid for the call, and the kernel reads one descriptor through it.
        return unsafe withUnsafeMutablePointer(to: &descriptor) { pointer in
            var update = io_uring_files_update()
            update.offset = number
            update.fds = UInt64(UInt(bitPattern: pointer))
            return unsafe io_uring_register(UInt32(ring.pointee.ring_fd), updateFiles, &update, 1) == 1
        }
    }
}
