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
    func send(header: [UInt8], body: ArraySlice<UInt8>, fds: [Int32]) -> Int {
        // SAFETY: the buffers live for the call, which reads no more than their counts.
        unsafe header.withUnsafeBytes { head in
            unsafe body.withUnsafeBytes { tail in
                unsafe fds.withUnsafeBufferPointer { numbers in
                    unsafe irqmux_socket_send(
                        number, head.baseAddress, head.count, tail.baseAddress, tail.count, numbers.baseAddress,
                        Int32(numbers.count))
                }
            }
        }
    }

    /// Receives at most `length` bytes, appended to `buffer`, and whatever descriptors come with them.
    func receive(_ length: Int, into buffer: inout [UInt8], fds: inout DescriptorSet) -> Received {
        var count: Int32 = 0
        let start = buffer.count
        buffer.append(contentsOf: repeatElement(0, count: length))
        // SAFETY: the buffer has `length` bytes from `start` on, the temporary room for every descriptor that the
        // kernel passes in one message; both live for the call.
        let result = unsafe withUnsafeTemporaryAllocation(of: Int32.self, capacity: Int(irqmux_SCM_MAX_FD)) { room in
            let received = unsafe buffer.withUnsafeMutableBytes { bytes in
                unsafe irqmux_socket_receive(
                    number, bytes.baseAddress! + start, length, room.baseAddress, Int32(room.count), &count)
            }
            if count > 0 { fds.add(owning: unsafe Array(room.prefix(Int(count)))) }
            return received
        }
        buffer.removeLast(length - max(0, result))
        switch result {
        case 1...: return .bytes(result)
        case 0: return .closed
        case Int(-EAGAIN): return .nothing
        default: return .failed(Int32(truncatingIfNeeded: -result))
        }
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

    private var head: [UInt8] = []
    private var header: MessageHeader?
    private var body: [UInt8] = []
    private var fds = DescriptorSet()
    /// The largest message that is taken.
    var limit: Int

    init(limit: Int) { self.limit = limit }

    /// Whether a message has begun and is not complete.
    var isInside: Bool { !head.isEmpty }

    /// What is to be done next.
    func step() -> Step {
        guard let header else { return .wants(MessageHeader.size - head.count) }
        let size = Int(header.messageSize)
        guard size >= MessageHeader.size, size <= limit else { return .badSize(header) }
        let missing = size - MessageHeader.size - body.count
        return missing == 0 ? .complete : .wants(min(missing, Self.piece))
    }

    /// Takes what a socket has, up to what the step wants.
    mutating func receive(_ length: Int, from socket: borrowing MessageSocket) -> MessageSocket.Received {
        let received: MessageSocket.Received
        if header == nil {
            received = socket.receive(length, into: &head, fds: &fds)
            noteHeader()
        } else {
            received = socket.receive(length, into: &body, fds: &fds)
        }
        return received
    }

    /// Takes bytes that came some other way; no more than the step wants.
    mutating func receive(_ bytes: ArraySlice<UInt8>, fds more: [Int32] = []) {
        fds.add(owning: more)
        if header == nil {
            head += bytes
            noteHeader()
        } else {
            body += bytes
        }
    }

    private mutating func noteHeader() {
        guard head.count == MessageHeader.size else { return }
        header = MessageHeader(decoding: head)
        // What a big message needed is not kept for the small ones.
        if body.capacity > Self.piece { body = [] }
    }

    /// The complete message; the next one begins with the next byte.
    mutating func take() -> IncomingMessage? {
        guard case .complete = step(), let header else { return nil }
        var taken = DescriptorSet()
        swap(&taken, &fds)
        var content: [UInt8] = []
        swap(&content, &body)
        head.removeAll(keepingCapacity: true)
        self.header = nil
        return IncomingMessage(header: header, body: content, fds: taken)
    }
}
