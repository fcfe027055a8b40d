internal import CKernel
internal import EventRing
internal import Glibc
internal import Synchronization

/// The server's thread: waits for everything at once, and lets nobody hold it up.
struct ServerLoop: ~Copyable {
    /// A client that is being served.
    private struct Client: ~Copyable {
        let connection: Connection
        var session: ServerSession
    }

    /// A client that came while another was served. Its VERSION is answered with EBUSY, so that it learns why.
    private final class Visitor {
        let socket: MessageSocket
        var head: [UInt8] = []
        let deadline: UInt64

        init(owning number: Int32, deadline: UInt64) {
            socket = MessageSocket(owning: number)
            self.deadline = deadline
        }
    }

    /// What a wait found ready.
    private struct Ready {
        var control = false
        var listener = false
        var client = false
        var attention = false
        var unmask = false
    }

    private static let mostVisitors: Int = 8
    private static let patienceNs: UInt64 = 1_000_000_000
    /// How many commands are answered before the others are looked after.
    private static let turn: Int = 64

    private let server: ServerCore
    private let once: Bool
    private let regions: [RegionDescription]
    private var client: Client?
    private var visitors: [Visitor] = []
    private var entries: [pollfd] = []
    private var isDone = false
    /// Descriptors ran out: new clients wait in the backlog for a moment.
    private var isShort = false
    /// Whether another command is looked for as soon as one was answered. A client that waits for each answer never has
    /// one there, and the look is a system call; one that sends many back to back saves a poll(2) for each.
    private var foresight = Backoff()

    init(_ server: ServerCore, once: Bool) {
        self.server = server
        self.once = once
        regions = server.device.regions
        client = nil
    }

    mutating func run() throws(VFIOUserError) {
        while !isDone, !server.isStopping {
            let ready = try wait()
            if ready.control {
                var count: UInt64 = 0
                // SAFETY: count is a local that outlives the call.
                _ = unsafe irqmux_eventfd_take(server.control.number, &count)
            }
            if ready.unmask { server.device.lines?.takeUnmask() }
            if ready.attention { server.device.attend() }
            if ready.client || client?.connection.hasWaiting == true { _ = serve() }
            attendVisitors()
            if ready.listener { accept() }
        }
        drain()
    }

    // MARK: Waiting

    /// The entries of the loop itself; those of the visitors follow.
    private static let own: Int = 5

    private mutating func wait() throws(VFIOUserError) -> Ready {
        let hasOutput = client?.connection.hasOutput ?? false
        if entries.count != Self.own + visitors.count {
            entries = Array(repeating: pollfd(), count: Self.own + visitors.count)
        }
        listen(0, server.control.number)
        // poll(2) passes over a negative descriptor.
        listen(1, isShort ? -1 : server.listener)
        listen(2, client?.connection.number ?? -1, hasOutput ? POLLOUT : POLLIN)
        listen(3, server.device.attention)
        listen(4, server.device.lines?.unmaskDescriptor ?? -1)
        for place in visitors.indices { listen(Self.own + place, visitors[place].socket.number) }
        let isWaitingForVisitor = isShort || !visitors.isEmpty
        let timeout: Int32 = client?.connection.hasWaiting == true && !hasOutput ? 0 : isWaitingForVisitor ? 100 : -1
        // SAFETY: the array has as many entries as stated and lives for the call.
        let result = unsafe entries.withUnsafeMutableBufferPointer { buffer in
            unsafe poll(buffer.baseAddress, nfds_t(buffer.count), timeout)
        }
        isShort = false
        guard result >= 0 || errno == EINTR else { throw .system("waiting for clients", Int(-errno)) }
        // Interrupted, the call leaves the entries as they were: nothing is ready.
        return Ready(
            control: entries[0].revents != 0, listener: entries[1].revents != 0, client: entries[2].revents != 0,
            attention: entries[3].revents != 0, unmask: entries[4].revents != 0)
    }

    private mutating func listen(_ place: Int, _ number: Int32, _ events: Int32 = POLLIN) {
        entries[place] = pollfd(fd: number, events: Int16(truncatingIfNeeded: events), revents: 0)
    }

    // MARK: Clients

    private mutating func accept() {
        while true {
            let number = irqmux_socket_accept(server.listener)
            guard number >= 0 else {
                isShort = number == -EMFILE || number == -ENFILE || number == -ENOMEM || number == -ENOBUFS
                return
            }
            if client == nil {
                begin(number)
            } else {
                server.counters.turnedAway.add(1, ordering: .relaxed)
                guard visitors.count < Self.mostVisitors else {
                    _ = irqmux_close(number)
                    continue
                }
                visitors.append(Visitor(owning: number, deadline: irqmux_monotonic_ns() &+ Self.patienceNs))
            }
        }
    }

    private mutating func begin(_ number: Int32) {
        let limits = server.options.limits
        let connection = Connection(
            owning: number, limit: limits.messageSize, control: server.control.number,
            timeoutNs: server.options.answerTimeoutNs)
        client = Client(
            connection: connection,
            session: ServerSession(server.device, regions: regions, limits: limits, connection: connection))
        foresight = Backoff()
        server.counters.connections.add(1, ordering: .relaxed)
        server.counters.isConnected.store(true, ordering: .relaxed)
    }

    /// Answers what the client has sent, up to ``turn`` commands. The last turns leave nothing behind.
    ///
    /// - Returns: Whether it stopped short of looking: there may be more.
    private mutating func serve(isLast: Bool = false) -> Bool {
        guard var current = client.take() else { return false }
        var isAlive = true
        if current.connection.hasOutput { isAlive = current.connection.flush() }
        var served = 0
        while isAlive, served < Self.turn, !current.connection.hasOutput {
            let looksAhead = served > 0
            if looksAhead, !isLast, !foresight.isDue() { break }
            switch current.connection.next() {
            case .idle:
                if looksAhead { foresight.settle(paid: false) }
                client = consume current
                return false
            case .message(let message):
                if looksAhead { foresight.settle(paid: true) }
                served += 1
                isAlive = answer(message, &current)
            case .end(let header):
                // A frame that cannot be: there is no next message to find. It is told why, and the stream ends.
                if let header {
                    server.counters.broken.add(1, ordering: .relaxed)
                    if header.isCommand { _ = current.connection.send(header.failure(EINVAL)) }
                }
                isAlive = false
            }
        }
        if isAlive { client = consume current } else { end(consume current) }
        return isAlive
    }

    private func answer(_ message: consuming IncomingMessage, _ client: inout Client) -> Bool {
        server.counters.messages.add(1, ordering: .relaxed)
        let before = client.session.refused
        let reply = client.session.answer(message)
        server.counters.refused.add(client.session.refused - before, ordering: .relaxed)
        if let reply, !client.connection.send(reply.header, body: reply.body, fds: reply.fds) { return false }
        return !client.session.mustEnd
    }

    private mutating func end(_ client: consuming Client) {
        client.session.end()
        server.counters.isConnected.store(false, ordering: .relaxed)
        if once { isDone = true }
    }

    // MARK: Visitors

    /// Those that the last wait was for; who came since follows later.
    private mutating func attendVisitors() {
        guard !visitors.isEmpty else { return }
        let now = irqmux_monotonic_ns()
        let current = visitors
        visitors = []
        for (place, visitor) in current.enumerated() {
            let isReady = entries[Self.own + place].revents != 0
            if isReady ? !turnAway(visitor) : now < visitor.deadline { visitors.append(visitor) }
        }
    }

    /// Whether the visitor has had its answer, or has gone.
    private func turnAway(_ visitor: Visitor) -> Bool {
        var fds = DescriptorSet()
        switch visitor.socket.receive(MessageHeader.size - visitor.head.count, into: &visitor.head, fds: &fds) {
        case .nothing: return false
        case .closed, .failed: return true
        case .bytes:
            guard let header = MessageHeader(decoding: visitor.head) else { return false }
            _ = visitor.socket.send(header.failure(EBUSY), body: [], fds: [])
            return true
        }
    }

    // MARK: The end

    /// What the client has sent by now is answered, as it takes the answers; one that takes none, or sends on and on,
    /// gets a second.
    private mutating func drain() {
        let deadline = irqmux_monotonic_ns() &+ Self.patienceNs
        while !isDone, serve(isLast: true), let connection = client?.connection {
            let now = irqmux_monotonic_ns()
            guard now < deadline else { break }
            guard connection.hasOutput else { continue }
            guard irqmux_socket_wait(connection.number, Int16(POLLOUT), deadline - now) > 0 else { break }
        }
        if let last = client.take() { end(last) }
        visitors = []
    }
}
