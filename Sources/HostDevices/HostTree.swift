internal import CKernel
internal import Glibc

/// The kernel's files about devices: sysfs, procfs, and irqmux's own notes in /run. The root is a parameter, so that
/// tests can lay out what no machine at hand has.
public struct HostTree: Sendable {
    /// This machine.
    public static let real = HostTree(root: "")

    /// What stands before `/sys`, `/proc`, `/dev` and `/run`; empty for this machine.
    public let root: String

    /// Names a tree.
    public init(root: String) { self.root = root }

    /// The contents of a small file without white space at its end; `nil` when it cannot be read.
    func text(_ path: String) -> String? {
        guard var bytes = bytes(path) else { return nil }
        while let last = bytes.last, last == 10 || last == 32 || last == 9 { bytes.removeLast() }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The contents of a file, up to a MiB; `nil` when it cannot be read.
    func bytes(_ path: String) -> [UInt8]? {
        // SAFETY: the path is a Swift string, passed NUL-terminated for the duration of the call.
        let descriptor = unsafe open(root + path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { _ = irqmux_close(descriptor) }
        var contents: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while contents.count < 1 << 20 {
            // SAFETY: the buffer lives for this closure and the kernel writes at most its count.
            let count = unsafe chunk.withUnsafeMutableBytes { bytes in
                unsafe read(descriptor, bytes.baseAddress, bytes.count)
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { return contents.isEmpty ? nil : contents }
            guard count > 0 else { break }
            contents += chunk[..<count]
        }
        return contents
    }

    /// The number in a file, hexadecimal with `0x`; `nil` when there is none.
    func number(_ path: String) -> Int? {
        guard let text = text(path) else { return nil }
        return text.hasPrefix("0x") ? Int(text.dropFirst(2), radix: 16) : Int(text)
    }

    /// The names in a directory, sorted; empty when there is none.
    func names(_ path: String) -> [String] {
        // SAFETY: opendir takes a NUL-terminated path; the handle is closed on the only way out.
        guard let directory = unsafe opendir(root + path) else { return [] }
        // SAFETY: as above.
        defer { unsafe _ = closedir(directory) }
        var names: [String] = []
        // SAFETY: readdir's entry is valid until the next call with this handle, and d_name is NUL-terminated.
        while let entry = unsafe readdir(directory) {
            // SAFETY: as above.
            let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                // SAFETY: d_name ends with a zero within its bytes.
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Whether something is there.
    func exists(_ path: String) -> Bool {
        // SAFETY: the path is a Swift string, passed NUL-terminated for the duration of the call.
        unsafe access(root + path, F_OK) == 0
    }

    /// The last part of what a symbolic link points at; `nil` when it is none.
    func linkName(_ path: String) -> String? {
        link(path).flatMap { $0.split(separator: "/").last.map { String($0) } }
    }

    /// What a symbolic link points at; `nil` when it is none.
    func link(_ path: String) -> String? {
        var target = [UInt8](repeating: 0, count: 4096)
        // SAFETY: the buffer lives for the closure, and the call writes at most its count.
        let length = unsafe target.withUnsafeMutableBytes { bytes in
            unsafe readlink(root + path, bytes.baseAddress!.assumingMemoryBound(to: CChar.self), bytes.count)
        }
        return length > 0 ? String(decoding: target[..<length], as: UTF8.self) : nil
    }

    /// Writes `text` to a file in one piece, as sysfs wants it.
    ///
    /// - Parameter creating: Makes the file where there is none.
    /// - Throws: The kernel's errno.
    func write(_ text: String, to path: String, creating: Bool = false) throws(HostError) {
        let flags = creating ? O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC : O_WRONLY | O_TRUNC | O_CLOEXEC
        // SAFETY: the path is a Swift string, passed NUL-terminated for the duration of the call.
        let descriptor = unsafe open(root + path, flags, 0o644)
        guard descriptor >= 0 else { throw HostError("writing \(path)", errno: errno) }
        defer { _ = irqmux_close(descriptor) }
        let bytes = Array(text.utf8)
        while true {
            // SAFETY: the buffer lives for the closure.
            let count = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count == bytes.count else {
                throw HostError("writing '\(text)' to \(path)", errno: count < 0 ? errno : EIO)
            }
            return
        }
    }

    /// Makes a directory and those above it; no effect where they are.
    func makeDirectory(_ path: String) throws(HostError) {
        var made = ""
        for part in path.split(separator: "/") {
            made += "/" + part
            // SAFETY: the path is a Swift string, passed NUL-terminated for the duration of the call.
            guard unsafe mkdir(root + made, 0o755) == 0 || errno == EEXIST else {
                throw HostError("making \(made)", errno: errno)
            }
        }
    }

    /// Removes a file; no effect where there is none.
    func remove(_ path: String) {
        // SAFETY: the path is a Swift string, passed NUL-terminated for the duration of the call.
        _ = unsafe unlink(root + path)
    }
}
