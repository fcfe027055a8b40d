internal import CKernel
internal import InterruptModel

// What comes from the server: replies, in any order, and commands of its own.
extension VFIOUserClient {
    /// Takes everything that is there, without waiting. Replies are kept by their id, commands are answered.
    mutating func takeWhatCame(_ operation: StaticString) throws(VFIOUserError) {
        serveTwin()
        while socket != nil, try takeMessage(operation) {}
    }

    /// Answers the server's commands on the socket that it has for them.
    mutating func serveTwin() {
        while twin != nil {
            switch Self.step(&twinAssembler, twin!) {
            case .message(let message):
                guard message.header.isCommand else { continue }
                let (header, body) = answer(message)
                if twin != nil, !Self.send(header, body, twin!, options.timeoutNs) { dropTwin() }
            case .nothing: return
            case .ended: dropTwin()
            case .badFrame: dropTwin()
            }
        }
    }

    /// Takes one message, if a whole one is there.
    ///
    /// - Returns: True when something has changed: one was taken, or the connection ended.
    mutating func takeMessage(_ operation: StaticString) throws(VFIOUserError) -> Bool {
        guard socket != nil else { return true }
        switch Self.step(&assembler, socket!) {
        case .message(let message): try take(message, operation)
        case .nothing: return false
        case .ended: lose()
        case .badFrame: throw violated(operation, "a message states a size that cannot be")
        }
        return true
    }

    private enum Came: ~Copyable {
        case message(IncomingMessage)
        case nothing, ended, badFrame
    }

    private static func step(_ assembler: inout MessageAssembler, _ socket: borrowing MessageSocket) -> Came {
        while true {
            switch assembler.step() {
            case .badSize: return .badFrame
            case .complete:
                guard let message = assembler.take() else { return .nothing }
                return .message(message)
            case .wants(let length):
                switch assembler.receive(length, from: socket) {
                case .bytes: continue
                case .nothing: return .nothing
                case .closed, .failed: return .ended
                }
            }
        }
    }

    /// The stream has ended; replies that came before are kept.
    private mutating func lose() {
        let kept = arrived
        let expected = awaited
        close()
        arrived = kept
        awaited = expected
    }

    private mutating func take(
        _ message: consuming IncomingMessage, _ operation: StaticString
    ) throws(VFIOUserError) {
        let header = message.header
        if header.isReply {
            guard awaited.contains(header.id), arrived[header.id] == nil else {
                throw violated(operation, "an answer came that nobody asked for")
            }
            arrived[header.id] = Reply(message)
            return
        }
        guard header.isCommand else { throw violated(operation, "a message is neither command nor reply") }
        let (reply, body) = answer(message)
        guard !header.wantsNoReply, socket != nil else { return }
        if !Self.send(reply, body, socket!, options.timeoutNs) { lose() }
    }

    /// Carries out a command of the server's.
    private func answer(_ message: borrowing IncomingMessage) -> (MessageHeader, [UInt8]) {
        let header = message.header
        do throws(DeviceError) {
            guard let access = DMAAccessMessage(decoding: message.body), access.count <= UInt64(options.dataTransfer)
            else { throw DeviceError("DMA", errno: EINVAL) }
            let data = message.body[DMAAccessMessage.size...]
            switch MessageCommand(rawValue: header.command) {
            case .dmaRead:
                guard data.isEmpty else { throw DeviceError("DMA", errno: EINVAL) }
                let bytes = try memory.read(access.address, count: Int(access.count))
                let body = access.encoded(data: bytes[...])
                return (header.reply(bodySize: body.count), body)
            case .dmaWrite:
                guard data.count == Int(access.count) else { throw DeviceError("DMA", errno: EINVAL) }
                try memory.write(access.address, Array(data))
                let body = access.encoded()
                return (header.reply(bodySize: body.count), body)
            default: throw DeviceError("command", errno: ENOTSUP)
            }
        } catch {
            return (header.failure(error.errno), [])
        }
    }

    /// Sends a reply. The server waits for it, so it has room soon.
    private static func send(
        _ header: MessageHeader, _ body: [UInt8], _ socket: borrowing MessageSocket, _ timeoutNs: UInt64
    ) -> Bool {
        let bytes = header.encoded + body
        let deadline = irqmux_monotonic_ns() &+ timeoutNs
        var sent = 0
        while sent < bytes.count {
            let result = socket.send(bytes[sent...], fds: [])
            if result == Int(-EAGAIN) {
                let now = irqmux_monotonic_ns()
                guard now < deadline, socket.wait(POLLOUT, timeoutNs: deadline - now) >= 0 else { return false }
            } else if result <= 0 {
                return false
            } else {
                sent += result
            }
        }
        return true
    }
}
