internal import CKernel
internal import Glibc

/// Where the data goes: stdout, or the file of `--output`.
///
/// The file is opened before anything is measured, so that a mistyped path costs a second and not the measurement.
struct OutputSink: ~Copyable {
    private let descriptor: Int32
    private let name: String
    private let ownsDescriptor: Bool

    /// Opens `path`, or takes stdout when it is `nil` or `-`.
    init(path: String?) throws(CommandFailure) {
        guard let path, path != "-" else {
            descriptor = STDOUT_FILENO
            name = "stdout"
            ownsDescriptor = false
            return
        }
        // SAFETY: the path is a Swift string, passed NUL-terminated for the duration of the call.
        let opened = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard opened >= 0 else {
            throw CommandFailure(.failure, "cannot write to '\(path)': \(SystemFiles.errorName(errno))")
        }
        descriptor = opened
        name = "'\(path)'"
        ownsDescriptor = true
    }

    deinit { if ownsDescriptor { _ = irqmux_close(descriptor) } }

    /// Writes all of `text`.
    func write(_ text: String) throws(CommandFailure) {
        let failure = Self.writeAll(text, to: descriptor)
        guard failure == 0 else {
            throw CommandFailure(.failure, "cannot write to \(name): \(SystemFiles.errorName(failure))")
        }
    }

    /// Writes all of `text`; 0, or the errno that stopped it.
    static func writeAll(_ text: String, to descriptor: Int32) -> Int32 {
        var text = text
        return text.withUTF8 { bytes in
            var written = 0
            while written < bytes.count {
                // SAFETY: the buffer lives for this closure, and written stays below its count.
                let result = unsafe Glibc.write(descriptor, bytes.baseAddress! + written, bytes.count - written)
                if result < 0, errno == EINTR { continue }
                guard result > 0 else { return result == 0 ? EIO : errno }
                written += result
            }
            return 0
        }
    }
}
