internal import CKernel
internal import EventRing
internal import InterruptModel
internal import Synchronization

/// The server's end of a connection: takes commands, sends replies, and asks for memory that the client did not share.
///
/// The server's thread receives and replies; any thread may ask for memory. A reply that the client does not take waits
/// here, and while one waits no further command is taken, so a client that never reads costs its own progress only.
final class Connection: Sendable {
    /// A command of the client's that came while the server waited for memory.
    final class Waiting: Sendable {
        private let message: Mutex<IncomingMessage?>
        init(_ message: consuming IncomingMessage) { self.message = Mutex(consume message) }
        func take() -> IncomingMessage? { message.withLock { $0.take() } }
    }

    private struct Outgoing {
        var bytes: [UInt8]
        var sent = 0
        var fds: [Int32]
    }

    private struct State: ~Copyable {
        let socket: MessageSocket
        var assembler: MessageAssembler
        var output: [Outgoing] = []
        var waiting: [Waiting] = []
        var nextID: UInt16 = 1
        var isBroken = false
        /// Our end of the socket for our own commands, and the client's until it is known to have it.
        var twin: MessageSocket?
        var twinPeer: EventFD?
    }

    /// How the server's thread goes on.
    enum Next: ~Copyable {
        case message(IncomingMessage)
        /// Nothing complete has come.
        case idle
        /// The client is gone or has lost step; an error may still be sent.
        case end(MessageHeader?)
    }

    /// The most commands kept while the server waits for memory.
    private static let mostWaiting = 256

    let number: Int32
    private let state: Mutex<State>
    /// Signalled when commands wait here that poll no longer sees.
    private let control: Int32
    private let timeoutNs: UInt64

    init(owning number: Int32, limit: Int, control: Int32, timeoutNs: UInt64) {
        self.number = number
        self.control = control
        self.timeoutNs = timeoutNs
        state = Mutex(
            State(socket: MessageSocket(owning: number), assembler: MessageAssembler(limit: limit), twin: nil))
    }

    /// The next complete command.
    func next() -> Next {
        state.withLock { state in
            if let waiting = state.waiting.first {
                state.waiting.removeFirst()
                if let message = waiting.take() { return .message(message) }
            }
            if state.isBroken { return .end(nil) }
            return Self.receive(&state)
        }
    }

    private static func receive(_ state: inout State) -> Next {
        while true {
            switch state.assembler.step() {
            case .complete:
                guard let message = state.assembler.take() else { return .end(nil) }
                return .message(message)
            case .badSize(let header): return .end(header)
            case .wants(let length):
                switch state.assembler.receive(length, from: state.socket) {
                case .bytes: continue
                case .nothing: return .idle
                case .closed, .failed: return .end(nil)
                }
            }
        }
    }

    /// Queues a message and sends what the client takes.
    ///
    /// - Returns: False when the connection is broken.
    func send(_ header: MessageHeader, body: [UInt8] = [], fds: [Int32] = []) -> Bool {
        state.withLock { state in
            guard state.output.isEmpty else {
                state.output.append(Outgoing(bytes: header.encoded + body, fds: fds))
                return !state.isBroken
            }
            let sent = state.socket.send(header, body: body, fds: fds)
            if sent == MessageHeader.size + body.count { return true }
            guard sent > 0 || sent == Int(-EAGAIN) else {
                state.isBroken = true
                return false
            }
            state.output.append(
                Outgoing(bytes: header.encoded + body, sent: max(0, sent), fds: sent > 0 ? [] : fds))
            return true
        }
    }

    /// Whether replies wait for the client to take them.
    var hasOutput: Bool { state.withLock { !$0.output.isEmpty } }

    /// Whether commands wait here that poll does not see.
    var hasWaiting: Bool { state.withLock { !$0.waiting.isEmpty } }

    /// Sends what waits, as far as the client takes it.
    ///
    /// - Returns: False when the connection is broken.
    func flush() -> Bool { state.withLock { Self.flush(&$0) } }

    private static func flush(_ state: inout State) -> Bool {
        while let first = state.output.first {
            let sent = state.socket.send(first.bytes[first.sent...], fds: first.fds)
            if sent == Int(-EAGAIN) { return true }
            guard sent > 0 else {
                state.isBroken = true
                return false
            }
            state.output[0].fds = []
            state.output[0].sent += sent
            if state.output[0].sent == first.bytes.count { state.output.removeFirst() }
        }
        return !state.isBroken
    }

    /// Makes a socket for commands of our own. The client's end goes with the reply to VERSION.
    ///
    /// - Returns: The client's end, which stays ours to close; −1 when none can be had.
    func makeTwin() -> Int32 {
        var pair: (Int32, Int32) = (-1, -1)
        // SAFETY: a pair of 32-bit numbers is laid out as an array of two.
        let result = unsafe withUnsafeMutableBytes(of: &pair) { bytes in
            // SAFETY: as above, for the call.
            unsafe irqmux_socket_pair(bytes.baseAddress!.assumingMemoryBound(to: Int32.self))
        }
        guard result == 0 else { return -1 }
        return state.withLock { state in
            state.twin = MessageSocket(owning: pair.0)
            state.twinPeer = EventFD(owning: pair.1)
            return pair.1
        }
    }

    // MARK: Memory that the client did not share

    /// Sends DMA_READ or DMA_WRITE and waits for its reply.
    ///
    /// - Returns: The reply's body.
    /// - Throws: The client's errno; `ETIMEDOUT` when it does not answer, after which the connection ends; `ENOTCONN`.
    func exchange(_ command: MessageCommand, _ body: [UInt8], replyLimit: Int) throws(DeviceError) -> [UInt8] {
        try state.withLock { (state) throws(DeviceError) -> [UInt8] in
            guard !state.isBroken else { throw Self.gone }
            let id = state.nextID
            state.nextID &+= 1
            let header = MessageHeader(command: command, id: id, bodySize: body.count)
            let deadline = irqmux_monotonic_ns() &+ timeoutNs
            do throws(DeviceError) {
                guard state.twin != nil else { return try exchangeInStream(&state, header, body, deadline) }
                return try Self.exchange(on: state.twin!, header, body, replyLimit, deadline)
            } catch {
                // An answer that is late or wrong leaves the stream in doubt: the server's thread ends the connection.
                if error.errno == ETIMEDOUT || error.errno == EPROTO || error.errno == ENOTCONN {
                    state.isBroken = true
                    _ = irqmux_eventfd_signal(control, 1)
                }
                throw error
            }
        }
    }

    /// On the connection itself: commands of the client's that come in between are kept for the server's thread.
    private func exchangeInStream(
        _ state: inout State, _ header: MessageHeader, _ body: [UInt8], _ deadline: UInt64
    ) throws(DeviceError) -> [UInt8] {
        state.output.append(Outgoing(bytes: header.encoded + body, fds: []))
        while true {
            guard Self.flush(&state) else { throw Self.gone }
            switch Self.receive(&state) {
            case .message(let message):
                if message.header.isReply, message.header.id == header.id, message.header.command == header.command {
                    return try Self.answer(message)
                }
                guard message.header.isCommand else { continue }
                guard state.waiting.count < Self.mostWaiting else { throw Self.gone }
                state.waiting.append(Waiting(message))
                _ = irqmux_eventfd_signal(control, 1)
            case .end: throw Self.gone
            case .idle:
                let events = state.output.isEmpty ? POLLIN : POLLIN | POLLOUT
                try Self.wait(state.socket, events, deadline)
            }
        }
    }

    private static func exchange(
        on twin: borrowing MessageSocket, _ header: MessageHeader, _ body: [UInt8], _ limit: Int, _ deadline: UInt64
    ) throws(DeviceError) -> [UInt8] {
        let bytes = header.encoded + body
        var sent = 0
        while sent < bytes.count {
            let result = twin.send(bytes[sent...], fds: [])
            if result == Int(-EAGAIN) {
                try wait(twin, POLLOUT, deadline)
            } else if result <= 0 {
                throw gone
            } else {
                sent += result
            }
        }
        var assembler = MessageAssembler(limit: MessageHeader.size + limit)
        while true {
            switch assembler.step() {
            case .badSize: throw DeviceError("DMA", errno: EPROTO)
            case .complete:
                guard let message = assembler.take() else { throw gone }
                if message.header.isReply, message.header.id == header.id { return try answer(message) }
            case .wants(let length):
                switch assembler.receive(length, from: twin) {
                case .bytes: continue
                case .nothing: try wait(twin, POLLIN, deadline)
                case .closed, .failed: throw gone
                }
            }
        }
    }

    private static func answer(_ message: borrowing IncomingMessage) throws(DeviceError) -> [UInt8] {
        guard !message.header.isError else {
            let stated = Int32(truncatingIfNeeded: message.header.errno)
            throw DeviceError("DMA", errno: stated > 0 && stated < 4096 ? stated : EIO)
        }
        return message.body
    }

    private static func wait(
        _ socket: borrowing MessageSocket, _ events: Int32, _ deadline: UInt64
    ) throws(DeviceError) {
        let now = irqmux_monotonic_ns()
        guard now < deadline else { throw DeviceError("DMA", errno: ETIMEDOUT, remedy: "the client must answer") }
        guard socket.wait(events, timeoutNs: deadline - now) >= 0 else { throw gone }
    }

    private static var gone: DeviceError { DeviceError("DMA", errno: ENOTCONN, remedy: "the client is gone") }
}
