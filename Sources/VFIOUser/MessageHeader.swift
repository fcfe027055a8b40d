/// What a message asks for. The number is the protocol's.
///
/// Source: QEMU docs/interop/vfio-user.rst, "Commands".
public enum MessageCommand: UInt16, CaseIterable, Sendable {
    // The client's: negotiation, guest memory, description, interrupts, register access, reset.
    case version = 1
    case dmaMap = 2
    case dmaUnmap = 3
    case deviceInfo = 4
    case regionInfo = 5
    case regionIOFDs = 6
    case irqInfo = 7
    case setIRQs = 8
    case regionRead = 9
    case regionWrite = 10
    // The server's: it reads and writes memory that the client did not share.
    case dmaRead = 11
    case dmaWrite = 12
    // The client's again.
    case reset = 13
    case regionWriteMulti = 15
    // Features of the device, and its state as migration takes and brings it.
    case deviceFeature = 16
    case migrationRead = 17
    case migrationWrite = 18
}

/// The sixteen bytes that every message begins with.
public struct MessageHeader: Equatable, Sendable {
    /// How many bytes the header takes.
    public static let size = 16

    /// Chosen by the sender of a command and echoed in its reply.
    public var id: UInt16
    /// The command's number, which may name none.
    public var command: UInt16
    /// Bytes of the whole message, this header included.
    public var messageSize: UInt32
    /// Type in bits 0 to 3, `noReply` in bit 4, `error` in bit 5.
    public var flags: UInt32
    /// The errno of an error reply, which may be 0.
    public var errno: UInt32

    /// Makes a header of its five fields.
    public init(id: UInt16, command: UInt16, messageSize: UInt32, flags: UInt32 = 0, errno: UInt32 = 0) {
        self.id = id
        self.command = command
        self.messageSize = messageSize
        self.flags = flags
        self.errno = errno
    }

    /// Reads a header; `nil` when fewer than sixteen bytes are there.
    public init?(decoding bytes: [UInt8]) {
        var reader = WireReader(bytes)
        guard let id = reader.u16(), let command = reader.u16(), let size = reader.u32(), let flags = reader.u32(),
            let errno = reader.u32()
        else { return nil }
        self.init(id: id, command: command, messageSize: size, flags: flags, errno: errno)
    }

    /// The header of a command of ours with `bodySize` bytes after it.
    init(command: MessageCommand, id: UInt16, bodySize: Int) {
        self.init(id: id, command: command.rawValue, messageSize: UInt32(Self.size + bodySize))
    }

    /// The header's bytes.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.size)
        bytes.append(u16: id)
        bytes.append(u16: command)
        bytes.append(u32: messageSize)
        bytes.append(u32: flags)
        bytes.append(u32: errno)
        return bytes
    }

    /// The header as it lies in the stream, in two words.
    var words: (UInt64, UInt64) {
        (
            UInt64(id) | UInt64(command) << 16 | UInt64(messageSize) << 32,
            UInt64(flags) | UInt64(errno) << 32
        )
    }

    init(words: (UInt64, UInt64)) {
        self.init(
            id: UInt16(truncatingIfNeeded: words.0), command: UInt16(truncatingIfNeeded: words.0 >> 16),
            messageSize: UInt32(truncatingIfNeeded: words.0 >> 32), flags: UInt32(truncatingIfNeeded: words.1),
            errno: UInt32(truncatingIfNeeded: words.1 >> 32))
    }

    /// Whether the message is a command.
    public var isCommand: Bool { flags & 0xf == 0 }
    /// Whether the message is a reply.
    public var isReply: Bool { flags & 0xf == 1 }
    /// Whether the sender wants no reply.
    public var wantsNoReply: Bool { flags & 0x10 != 0 }
    /// Whether the reply says that the command failed.
    public var isError: Bool { flags & 0x20 != 0 }

    /// The header of the reply, with `bodySize` bytes after it.
    func reply(bodySize: Int) -> MessageHeader {
        MessageHeader(id: id, command: command, messageSize: UInt32(Self.size + bodySize), flags: 1)
    }

    /// The header that is the whole of an error reply.
    func failure(_ errno: Int32) -> MessageHeader {
        MessageHeader(
            id: id, command: command, messageSize: UInt32(Self.size), flags: 0x21, errno: UInt32(bitPattern: errno))
    }
}
