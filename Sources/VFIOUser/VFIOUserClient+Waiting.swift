internal import CKernel

// Waiting for the server: a look or two first, then sleep.
extension VFIOUserClient {
    /// Which socket has something.
    struct Ready {
        var main = false
        var twin = false
    }

    /// Waits for the reply of a command that was posted. An error reply is thrown.
    mutating func result(_ id: UInt16, _ operation: StaticString) throws(VFIOUserError) -> Reply {
        let deadline = irqmux_monotonic_ns() &+ options.timeoutNs
        while true {
            if let reply = arrived.removeValue(forKey: id) {
                awaited.remove(id)
                guard reply.header.isError else { return reply }
                let stated = Int32(truncatingIfNeeded: reply.header.errno)
                throw VFIOUserError(
                    operation, .refused, errno: stated > 0 && stated < 4096 ? stated : EIO,
                    remedy: stated == 0 ? "the server refused and gave no reason" : "")
            }
            guard socket != nil else { throw Self.disconnected(operation) }
            if try lookForMessage(deadline, operation) { continue }
            let ready = try wait(POLLIN, deadline, operation)
            if ready.twin { serveTwin() }
            if ready.main { _ = try takeMessage(operation) }
        }
    }

    /// Looks for a message without sleeping: on another processor, a server that runs answers sooner than this thread
    /// would be asleep and woken again; on the same one, yielding is all that it needs.
    ///
    /// - Returns: True when one came, or the connection ended.
    private mutating func lookForMessage(
        _ deadline: UInt64, _ operation: StaticString
    ) throws(VFIOUserError) -> Bool {
        // Of several replies that are due, more than one may have come.
        let isOneOfMany = awaited.count > 1
        let looks = options.spinNs > 0 && spinning.isDue()
        guard looks || isOneOfMany else { return false }
        let start = irqmux_monotonic_ns()
        // Also for a server that talks all the time, and never of what it was asked.
        guard start < deadline else { throw expired(operation) }
        while true {
            if try takeMessage(operation) {
                if looks { spinning.settle(paid: true) }
                return true
            }
            guard looks, irqmux_monotonic_ns() &- start < options.spinNs else { break }
            irqmux_yield()
        }
        if looks { spinning.settle(paid: false) }
        return false
    }

    /// Sleeps until one of the sockets has something, or `socket` can be written where that is asked for.
    ///
    /// - Throws: `.timedOut`.
    mutating func wait(
        _ events: Int32, _ deadline: UInt64, _ operation: StaticString
    ) throws(VFIOUserError) -> Ready {
        let now = irqmux_monotonic_ns()
        let ready = now < deadline ? wait(events, for: deadline - now) : Ready()
        guard !ready.main, !ready.twin, irqmux_monotonic_ns() >= deadline else { return ready }
        throw expired(operation)
    }

    /// The server's time is up. Its answer may still come, and would be taken for another's, so the connection ends.
    private mutating func expired(_ operation: StaticString) -> VFIOUserError {
        close()
        return VFIOUserError(
            operation, .timedOut, errno: ETIMEDOUT, remedy: "the server did not answer; reconnect to go on")
    }

    private func wait(_ events: Int32, for nanoseconds: UInt64) -> Ready {
        guard twinDescriptor >= 0 else {
            let result = irqmux_socket_wait(descriptor, Int16(truncatingIfNeeded: events), nanoseconds)
            return Ready(main: result != 0)
        }
        var pair = (
            pollfd(fd: descriptor, events: Int16(truncatingIfNeeded: events), revents: 0),
            pollfd(fd: twinDescriptor, events: Int16(POLLIN), revents: 0)
        )
        let limit = Int32(clamping: (nanoseconds + 999_999) / 1_000_000)
        // SAFETY: a pair of entries is laid out as an array of two, and lives for the call.
        _ = unsafe withUnsafeMutableBytes(of: &pair) { bytes in
            // SAFETY: as above.
            unsafe poll(bytes.baseAddress!.assumingMemoryBound(to: pollfd.self), 2, limit)
        }
        return Ready(main: pair.0.revents != 0, twin: pair.1.revents != 0)
    }
}
