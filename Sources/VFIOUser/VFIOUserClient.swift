internal import CKernel
internal import EventRing
internal import Synchronization

/// What a client announces and how patient it is.
public struct ClientOptions: Sendable {
    /// How long a server may take to answer, in nanoseconds.
    public var timeoutNs: UInt64 = 10_000_000_000
    /// The most descriptors that the server may send with one message, 1 to 253.
    public var messageFDs: UInt32 = 64
    /// The most data bytes of one access.
    public var dataTransfer = 1 << 20
    /// Offers the server a socket of its own for its commands.
    public var offersTwinSocket = true
    /// How many commands may be on their way at a time.
    public var window = 64
    /// How long an answer is looked for before the thread sleeps, in nanoseconds; 0 to sleep at once. Looking is left
    /// out while it finds nothing.
    public var spinNs: UInt64 = 50_000

    /// Ten seconds of patience.
    public init() {}
}

/// Speaks vfio-user to a server, as its one client.
///
/// Commands that the server sends are answered whenever the client waits for something, and by `attend`. What the peer
/// says is never believed: a message that contradicts itself ends the connection with an error. One thread at a time;
/// `VFIOUserDevice` is the form for several.
public struct VFIOUserClient: ~Copyable, Sendable {
    /// A reply as it came.
    final class Reply: Sendable {
        let header: MessageHeader
        let body: [UInt8]
        private let descriptors: Mutex<DescriptorSet>

        init(_ message: consuming IncomingMessage) {
            header = message.header
            body = message.body
            descriptors = Mutex(message.fds)
        }

        /// How many descriptors came along.
        var count: Int { descriptors.withLock { $0.count } }

        /// Gives up a descriptor; −1 when there is none at that place.
        func take(_ place: Int) -> Int32 { descriptors.withLock { $0.take(place) } }

        /// Gives up all of them.
        func takeAll() -> DescriptorSet {
            descriptors.withLock { set in DescriptorSet(owning: (0..<set.count).map { set.take($0) }) }
        }
    }

    let options: ClientOptions
    let path: String?
    /// What the server can take.
    public internal(set) var server = Capabilities()
    /// The protocol's minor version that was agreed on.
    public internal(set) var minor: UInt16 = 0

    private(set) var socket: MessageSocket?
    private(set) var twin: MessageSocket?
    private(set) var twinDescriptor: Int32 = -1
    /// Whether the next answer is looked for before this thread sleeps.
    var spinning = Backoff()
    var assembler: MessageAssembler
    var twinAssembler: MessageAssembler
    var arrived: [UInt16: Reply] = [:]
    /// Commands whose replies are awaited, so that an answer to nothing is noticed.
    var awaited: Set<UInt16> = []
    private var nextID: UInt16 = 0
    var record = InterruptRecord()
    /// The client's memory that the device may reach; `maps` tells which of it the server was given.
    let memory: ClientMemory
    var maps: [SharedMap] = []

    /// A mapping as it has to be told again after a reconnect.
    struct SharedMap: Sendable {
        var map: DMAMapMessage
        var descriptor: Int32
        var isShared: Bool
    }

    /// Connects to the server at `path` and negotiates.
    ///
    /// - Throws: `.system` with `ENOENT`, `ENOTSOCK` or `ECONNREFUSED` when nobody is there; `.refused` with `EBUSY`
    ///   while the server has another client; `.otherVersion`; `.timedOut`.
    public static func connecting(
        to path: String, options: ClientOptions = ClientOptions()
    ) throws(VFIOUserError) -> VFIOUserClient {
        try opened(path, options, try connect(path))
    }

    /// Takes over a connected socket and negotiates.
    ///
    /// - Throws: As above, but for what concerns the path.
    public static func adopting(
        _ socket: Int32, options: ClientOptions = ClientOptions()
    ) throws(VFIOUserError) -> VFIOUserClient {
        try opened(nil, options, MessageSocket(owning: socket))
    }

    private static func opened(
        _ path: String?, _ options: ClientOptions, _ socket: consuming MessageSocket
    ) throws(VFIOUserError) -> VFIOUserClient {
        var client = VFIOUserClient(path: path, options: options, socket: socket)
        try client.negotiate()
        return client
    }

    private init(path: String?, options: ClientOptions, socket: consuming MessageSocket) {
        self.path = path
        self.options = options
        descriptor = socket.number
        self.socket = consume socket
        twin = nil
        let limit = MessageHeader.size + 64 + options.dataTransfer
        assembler = MessageAssembler(limit: limit)
        twinAssembler = MessageAssembler(limit: limit)
        memory = ClientMemory(connection: nil, chunk: options.dataTransfer, limit: 65535)
    }

    static func connect(_ path: String) throws(VFIOUserError) -> MessageSocket {
        // SAFETY: the text is NUL-terminated and lives for the call.
        let number = unsafe path.withCString { unsafe irqmux_socket_connect($0) }
        guard number >= 0 else {
            let remedy: StaticString =
                switch -number {
                case ENOENT: "there is no such file; start the server first"
                case ENOTSOCK: "the path is no socket"
                case ECONNREFUSED: "nobody listens there; start the server"
                case EAGAIN: "the server is too busy to accept"
                case EACCES: "the socket belongs to another user"
                case ENAMETOOLONG: "a socket's path has at most 107 bytes"
                default: ""
                }
            throw VFIOUserError("connecting to the socket", .system, errno: -number, remedy: remedy)
        }
        return MessageSocket(owning: number)
    }

    /// Whether there is a connection, as far as the client has noticed.
    public var isConnected: Bool { socket != nil }

    /// The socket, to be polled by whoever wants to `attend` when the server sends commands; −1 without a connection.
    public private(set) var descriptor: Int32 = -1

    // MARK: Negotiation

    mutating func negotiate() throws(VFIOUserError) {
        var ours = Capabilities()
        ours.maxMessageFDs = max(1, min(options.messageFDs, UInt32(irqmux_SCM_MAX_FD)))
        ours.maxDataTransfer = UInt64(options.dataTransfer)
        ours.writesMultiple = true
        ours.twinSocket = options.offersTwinSocket
        let reply: Reply
        do throws(VFIOUserError) {
            reply = try call(.version, VersionMessage(capabilities: ours).encoded, "VERSION")
        } catch {
            close()
            guard error.kind == .refused, error.errno == EBUSY else { throw error }
            throw VFIOUserError(
                "VERSION", .refused, errno: EBUSY, remedy: "the server has another client; wait until it has gone")
        }
        // The version first: of another major the rest may look any way.
        var reader = WireReader(reply.body)
        if let major = reader.u16(), major != VersionMessage.spoken.major {
            close()
            throw VFIOUserError(
                "VERSION", .otherVersion(major), errno: EPROTONOSUPPORT,
                remedy: "the server speaks another major version; irqmux speaks 0")
        }
        guard let version = VersionMessage(decoding: reply.body), version.minor <= VersionMessage.spoken.minor else {
            throw violated("VERSION", "the server's version or capabilities make no sense")
        }
        minor = version.minor
        server = version.capabilities
        if options.offersTwinSocket, let index = server.twinSocketIndex {
            let number = reply.take(Int(index))
            guard number >= 0 else { throw violated("VERSION", "the server names a twin socket that did not come") }
            twin = MessageSocket(owning: number)
            twinDescriptor = number
        }
    }

    // MARK: Commands and replies

    /// Sends a command, and waits for its reply. An error reply is thrown.
    mutating func call(
        _ command: MessageCommand, _ body: [UInt8], fds: [Int32] = [], _ operation: StaticString
    ) throws(VFIOUserError) -> Reply {
        let id = try post(command, body, fds: fds, operation)
        return try result(id, operation)
    }

    /// Sends a command; its reply is fetched with `result`.
    mutating func post(
        _ command: MessageCommand, _ body: [UInt8], fds: [Int32] = [], _ operation: StaticString
    ) throws(VFIOUserError) -> UInt16 {
        let id = nextID
        nextID &+= 1
        let deadline = irqmux_monotonic_ns() &+ options.timeoutNs
        let header = MessageHeader(command: command, id: id, bodySize: body.count)
        var sent = 0
        while sent < MessageHeader.size + body.count {
            guard socket != nil else { throw Self.disconnected(operation) }
            // One sendmsg for the whole message: some servers do not put pieces together.
            let result =
                sent == 0
                ? socket!.send(header, body: body, fds: fds) : socket!.send((header.encoded + body)[sent...], fds: [])
            switch result {
            case 1...: sent += result
            case Int(-EAGAIN), Int(-ETOOMANYREFS):
                // Full, or too many descriptors are on their way: replies are taken meanwhile, so that neither side
                // waits for the other.
                let events = result == Int(-EAGAIN) ? POLLIN | POLLOUT : POLLIN
                guard result == Int(-EAGAIN) || !awaited.isEmpty else {
                    throw .system(operation, result, "raise RLIMIT_NOFILE (ulimit -n)")
                }
                _ = try wait(events, deadline, operation)
                try takeWhatCame(operation)
            case Int(-EPIPE), Int(-ECONNRESET):
                // What the server said last may still be there.
                try? takeWhatCame(operation)
                close()
                throw Self.disconnected(operation)
            default: throw .system(operation, result)
            }
        }
        awaited.insert(id)
        return id
    }

    /// Answers what the server has asked for by now; returns at once when that is nothing.
    public mutating func attend() throws(VFIOUserError) {
        try takeWhatCame("serving the device")
        guard socket != nil else { throw Self.disconnected("serving the device") }
    }

    // MARK: Errors

    static func disconnected(_ operation: StaticString) -> VFIOUserError {
        VFIOUserError(operation, .disconnected, errno: ENOTCONN, remedy: "the server is gone; reconnect to go on")
    }

    /// The peer contradicted itself: nothing more it says is believed.
    mutating func violated(_ operation: StaticString, _ what: StaticString) -> VFIOUserError {
        close()
        return .violation(operation, what)
    }

    mutating func close() {
        socket = nil
        descriptor = -1
        dropTwin()
        arrived = [:]
        awaited = []
        assembler = MessageAssembler(limit: assembler.limit)
        twinAssembler = MessageAssembler(limit: assembler.limit)
    }

    mutating func dropTwin() {
        twin = nil
        twinDescriptor = -1
    }

    /// A new connection in place of the one that was lost.
    mutating func open(_ path: String) throws(VFIOUserError) {
        close()
        let connected = try Self.connect(path)
        descriptor = connected.number
        socket = consume connected
    }
}
