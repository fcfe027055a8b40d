internal import CKernel
internal import EventRing
internal import Synchronization

/// What a server announces and how patient it is.
public struct ServerOptions: Sendable {
    /// The most descriptors that clients may send with one message, 1 to 253. QEMU refuses servers that say more than
    /// 16.
    public var messageFDs: UInt32 = 16
    /// The most data bytes of one region access.
    public var dataTransfer = 1 << 20
    /// The most DMA mappings of a client.
    public var dmaMaps = 65535
    /// How long a client may take to answer DMA_READ and DMA_WRITE, in nanoseconds, before its connection ends.
    public var answerTimeoutNs: UInt64 = 5_000_000_000

    /// QEMU-compatible limits.
    public init() {}

    var limits: ServerLimits {
        ServerLimits(
            messageFDs: max(1, min(messageFDs, UInt32(irqmux_SCM_MAX_FD))),
            dataTransfer: max(4096, min(dataTransfer, 64 << 20)), dmaMaps: max(1, min(dmaMaps, 65535)))
    }
}

/// What a server has done so far.
public struct ServerStatistics: Equatable, Sendable {
    /// Clients that were served.
    public var connections: UInt64 = 0
    /// Clients that came while another was served, and were told so.
    public var turnedAway: UInt64 = 0
    /// Connections that ended because the client lost step or broke the protocol's frame.
    public var broken: UInt64 = 0
    /// Messages taken.
    public var messages: UInt64 = 0
    /// Messages answered with an error.
    public var refused: UInt64 = 0
    /// Whether a client is there now.
    public var isConnected = false
}

/// What a server's thread works with, and what other threads reach it by.
final class ServerCore: Sendable {
    let device: any MediatedDevice
    let options: ServerOptions
    let listener: Int32
    let control: EventFD
    let counters = ServerCounters()
    private let stopping = Atomic<Bool>(false)

    /// Takes over the listening socket.
    init(_ device: any MediatedDevice, _ options: ServerOptions, listener: Int32, control: consuming EventFD) {
        self.device = device
        self.options = options
        self.listener = listener
        self.control = control
    }

    deinit { _ = irqmux_close(listener) }

    var isStopping: Bool { stopping.load(ordering: .acquiring) }

    func stop() {
        stopping.store(true, ordering: .releasing)
        _ = irqmux_eventfd_signal(control.number, 1)
    }
}

/// Serves one device on one UNIX socket, to one client at a time.
///
/// The socket has permissions 0600 from its first moment. `run` does everything on the caller's thread; `stop` may be
/// called from any other.
public final class Server<Device: MediatedDevice>: Sendable {
    private let core: ServerCore
    private let path: String
    private let file: (device: UInt64, inode: UInt64)

    /// Makes the socket. Clients may connect from now on; they are served once `run` runs.
    ///
    /// A socket that nobody listens on any more is replaced.
    /// - Throws: `EADDRINUSE` while another server listens there; `ENOTSOCK` when the path is something else;
    ///   `ENAMETOOLONG`; what open(2) and bind(2) say of the directory.
    public init(
        _ device: Device, path: String, options: ServerOptions = ServerOptions()
    ) throws(VFIOUserError) {
        let control: EventFD
        do throws(RingError) { control = try EventFD() } catch {
            throw VFIOUserError(error.operation, .system, errno: error.errno, remedy: error.remedy)
        }
        var file: (device: UInt64, inode: UInt64) = (0, 0)
        // SAFETY: the text is NUL-terminated and lives for the call, as do the two numbers.
        let result = unsafe path.withCString { text in
            unsafe irqmux_socket_listen(text, 16, &file.device, &file.inode)
        }
        guard result >= 0 else {
            throw VFIOUserError(
                "listening on the socket", .system, errno: -result, remedy: Self.remedy(-result))
        }
        core = ServerCore(device, options, listener: result, control: control)
        self.file = file
        self.path = path
    }

    deinit { withdraw() }

    /// Takes the socket's path away, so that nobody new finds it; nothing when it is away, or is another server's by
    /// now. The end of the server does it too. From any thread.
    public func withdraw() {
        // SAFETY: the text is NUL-terminated and lives for the call.
        unsafe path.withCString { text in unsafe irqmux_socket_unlink(text, file.device, file.inode) }
    }

    private static func remedy(_ errno: Int32) -> StaticString {
        switch errno {
        case EADDRINUSE: "another server listens there; stop it or choose another path"
        case ENOTSOCK: "the path exists and is no socket; choose another"
        case ENAMETOOLONG: "a socket's path has at most 107 bytes"
        case ENOENT: "make the directory first"
        case ENOTDIR: "a part of the path is no directory"
        case EACCES, EPERM: "choose a directory that this user may write"
        default: ""
        }
    }

    /// What the server has done so far. From any thread.
    public var statistics: ServerStatistics { core.counters.snapshot }

    /// Ends `run` once what clients have sent by then is answered. From any thread, and from a signal's thread.
    public func stop() { core.stop() }

    /// Serves clients, one after another, until `stop`.
    ///
    /// - Parameter once: Ends when the first client has gone.
    /// - Throws: What poll(2) says, which it does not on a healthy machine.
    public func run(once: Bool = false) throws(VFIOUserError) {
        var loop = ServerLoop(core, once: once)
        try loop.run()
    }
}

/// Counts what the server does; read by any thread.
final class ServerCounters: Sendable {
    let connections = Atomic<UInt64>(0)
    let turnedAway = Atomic<UInt64>(0)
    let broken = Atomic<UInt64>(0)
    let messages = Atomic<UInt64>(0)
    let refused = Atomic<UInt64>(0)
    let isConnected = Atomic<Bool>(false)

    var snapshot: ServerStatistics {
        var statistics = ServerStatistics()
        statistics.connections = connections.load(ordering: .relaxed)
        statistics.turnedAway = turnedAway.load(ordering: .relaxed)
        statistics.broken = broken.load(ordering: .relaxed)
        statistics.messages = messages.load(ordering: .relaxed)
        statistics.refused = refused.load(ordering: .relaxed)
        statistics.isConnected = isConnected.load(ordering: .relaxed)
        return statistics
    }
}
