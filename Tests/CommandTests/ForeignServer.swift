import CKernel
import Glibc
import Testing

/// Somebody else's vfio-user server, as far as the first answer: it speaks another major version.
final class ForeignServer {
    private let path: String
    private let listener: Int32
    private let file: (device: UInt64, inode: UInt64)
    private var thread = pthread_t()

    /// Answers the VERSION of everyone who comes to `path` with `major`.0, and hangs up.
    init(path: String, major: UInt16) throws {
        var file: (device: UInt64, inode: UInt64) = (0, 0)
        // SAFETY: the text is NUL-terminated and lives for the call, as do the two numbers.
        let listener = unsafe irqmux_socket_listen(path, 4, &file.device, &file.inode)
        try #require(listener >= 0)
        self.path = path
        self.listener = listener
        self.file = file
        // The number of the listener and the version are all that the thread needs, and fit in its argument.
        let argument = UInt(listener) << 16 | UInt(major)
        // SAFETY: the argument is a number and is never followed.
        let result = unsafe pthread_create(
            &thread, nil, { unsafe ForeignServer.serve($0) }, UnsafeMutableRawPointer(bitPattern: argument))
        try #require(result == 0)
    }

    deinit {
        // Wakes the thread, which finds POLLHUP.
        shutdown(listener, Int32(SHUT_RDWR))
        pthread_join(thread, nil)
        close(listener)
        // SAFETY: the text is NUL-terminated and lives for the call.
        unsafe irqmux_socket_unlink(path, file.device, file.inode)
    }

    private static func serve(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
        // A number, as `init` made it.
        let argument = UInt(bitPattern: argument)
        while true {
            let listener = Int32(argument >> 16)
            // The listener itself does not wait, and says EAGAIN also when it was shut down.
            let events = irqmux_socket_wait(listener, Int16(POLLIN), .max)
            guard events >= 0, events & POLLHUP == 0 else { return nil }
            let client = accept(listener, nil, nil)
            guard client >= 0 else { continue }
            answer(client, UInt8(truncatingIfNeeded: argument))
            close(client)
        }
    }

    private static func answer(_ client: Int32, _ major: UInt8) {
        var question = [UInt8](repeating: 0, count: 4096)
        // The client sends its VERSION whole: header and text in one message.
        // SAFETY: the buffer holds the count that is passed with it.
        guard unsafe read(client, &question, question.count) >= 16 else { return }
        // The question's identity; command 1; 20 bytes with a version and no capabilities; a reply; no error.
        let reply = Array(question[0..<2]) + [1, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, major, 0, 0, 0]
        // SAFETY: as above.
        _ = unsafe write(client, reply, reply.count)
        // Until the client has gone: what it may still send is not met by a reset.
        // SAFETY: as above.
        while unsafe read(client, &question, question.count) > 0 {}
    }
}
