internal import CKernel

/// One end of a connection. Never blocks in a call to the kernel; `wait` is the only place where time passes.
struct MessageSocket: ~Copyable {
    /// What a receive came to.
    enum Received {
        /// So many bytes.
        case bytes(Int)
        /// Nothing is there now.
        case nothing
        /// The peer has closed.
        case closed
        /// The errno: the connection is broken, or more descriptors came than the kernel could hand over.
        case failed(Int32)
    }

    let number: Int32

    init(owning number: Int32) { self.number = number }

    deinit { _ = irqmux_close(number) }

    /// Sends a message with one sendmsg; the bytes the kernel took, or −errno.
    func send(_ header: MessageHeader, body: [UInt8], fds: [Int32]) -> Int {
        var words = header.words
        // SAFETY: two words are laid out as an array of two; the buffers live for the call, which reads no more than
        // their counts.
        return unsafe withUnsafeBytes(of: &words) { head in
            // SAFETY: as above.
            unsafe body.withUnsafeBytes { tail in unsafe send(head, tail, fds) }
        }
    }

    /// Sends bytes, the rest of a message perhaps; as many as the kernel took, or −errno.
    func send(_ bytes: ArraySlice<UInt8>, fds: [Int32]) -> Int {
        // SAFETY: the buffer lives for the call, which reads no more than its count.
        unsafe bytes.withUnsafeBytes { head in unsafe send(head, UnsafeRawBufferPointer(start: nil, count: 0), fds) }
    }

    private func send(_ head: UnsafeRawBufferPointer, _ tail: UnsafeRawBufferPointer, _ fds: [Int32]) -> Int {
        // SAFETY: the callers' buffers and this one live for the call, which reads no more than their counts.
        unsafe fds.withUnsafeBufferPointer { numbers in
            unsafe irqmux_socket_send(
                number, head.baseAddress, head.count, tail.baseAddress, tail.count, numbers.baseAddress,
                Int32(numbers.count))
        }
    }

    /// Receives bytes into a buffer, and whatever descriptors come with them.
    func receive(_ buffer: UnsafeMutableRawBufferPointer, fds: inout DescriptorSet) -> Received {
        // SAFETY: the temporary has room for every descriptor that the kernel passes in one message, the buffer is the
        // caller's; both live for the call.
        let result = unsafe withUnsafeTemporaryAllocation(of: Int32.self, capacity: Int(irqmux_SCM_MAX_FD)) { room in
            var count: Int32 = 0
            let received = unsafe irqmux_socket_receive(
                number, buffer.baseAddress, buffer.count, room.baseAddress, Int32(room.count), &count)
            if count > 0 { fds.add(owning: unsafe Array(room.prefix(Int(count)))) }
            return received
        }
        switch result {
        case 1...: return .bytes(result)
        case 0: return .closed
        case Int(-EAGAIN): return .nothing
        default: return .failed(Int32(truncatingIfNeeded: -result))
        }
    }

    /// Receives at most `length` bytes, appended to `buffer`, and whatever descriptors come with them.
    func receive(_ length: Int, into buffer: inout [UInt8], fds: inout DescriptorSet) -> Received {
        let start = buffer.count
        if start == 0 {
            buffer = [UInt8](repeating: 0, count: length)
        } else {
            buffer.append(contentsOf: repeatElement(0, count: length))
        }
        // SAFETY: the buffer has `length` bytes from `start` on, and lives for the call.
        let received = unsafe buffer.withUnsafeMutableBytes { bytes in
            unsafe receive(UnsafeMutableRawBufferPointer(rebasing: bytes[start...]), fds: &fds)
        }
        guard case .bytes(let number) = received else {
            buffer.removeLast(length)
            return received
        }
        if number < length { buffer.removeLast(length - number) }
        return received
    }

    /// Waits for one of `events`; the events that came, 0 after the time, −errno.
    func wait(_ events: Int32, timeoutNs: UInt64) -> Int32 {
        irqmux_socket_wait(number, Int16(truncatingIfNeeded: events), timeoutNs)
    }
}

/// A message as it came, before anybody looked at it.
struct IncomingMessage: ~Copyable {
    var header: MessageHeader
    var body: [UInt8]
    var fds: DescriptorSet
}

/// Puts messages together out of a stream that may come in any pieces.
///
/// It never takes a byte beyond the message at hand, so what comes with the bytes of a message belongs to it.
struct MessageAssembler: ~Copyable {
    /// How the stream goes on.
    enum Step {
        /// Take this many bytes more, at most.
        case wants(Int)
        /// A message is complete: `take` it.
        case complete
        /// The header states a size that cannot be: shorter than itself, or beyond the limit. The stream is lost.
        case badSize(MessageHeader)
    }

    /// A piece of a body that is asked for at once. A hostile header that promises much costs only what really comes.
    static let piece = 64 << 10

    /// The header as far as it has come.
    private var head: (UInt64, UInt64) = (0, 0)
    private var headCount = 0
    private var body: [UInt8] = []
    private var fds = DescriptorSet()
    /// The largest message that is taken.
    var limit: Int

    init(limit: Int) { self.limit = limit }

    private var header: MessageHeader? {
        headCount == MessageHeader.size ? MessageHeader(words: head) : nil
    }

    /// What is to be done next.
    func step() -> Step {
        guard let header else { return .wants(MessageHeader.size - headCount) }
        let size = Int(header.messageSize)
        guard size >= MessageHeader.size, size <= limit else { return .badSize(header) }
        let missing = size - MessageHeader.size - body.count
        return missing == 0 ? .complete : .wants(min(missing, Self.piece))
    }

    /// Takes what a socket has, up to what the step wants.
    mutating func receive(_ length: Int, from socket: borrowing MessageSocket) -> MessageSocket.Received {
        guard headCount < MessageHeader.size else { return socket.receive(length, into: &body, fds: &fds) }
        let start = headCount
        // SAFETY: two words are laid out as an array of two, and the step wants no more than is missing of them.
        let received = unsafe withUnsafeMutableBytes(of: &head) { bytes in
            // SAFETY: as above.
            unsafe socket.receive(UnsafeMutableRawBufferPointer(rebasing: bytes[start..<start + length]), fds: &fds)
        }
        if case .bytes(let count) = received { headCount += count }
        return received
    }

    /// Takes bytes that came some other way; no more than the step wants.
    mutating func receive(_ bytes: ArraySlice<UInt8>, fds more: [Int32] = []) {
        fds.add(owning: more)
        guard headCount < MessageHeader.size else {
            body += bytes
            return
        }
        for byte in bytes {
            let bits = UInt64(byte) << (8 * UInt64(headCount % 8))
            if headCount < 8 { head.0 |= bits } else { head.1 |= bits }
            headCount += 1
        }
    }

    /// The complete message; the next one begins with the next byte.
    mutating func take() -> IncomingMessage? {
        guard case .complete = step(), let header else { return nil }
        var taken = DescriptorSet()
        swap(&taken, &fds)
        var content: [UInt8] = []
        swap(&content, &body)
        head = (0, 0)
        headCount = 0
        return IncomingMessage(header: header, body: content, fds: taken)
    }
}
