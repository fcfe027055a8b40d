internal import CKernel
internal import Glibc

/// What the kernel tells through files, and the process's own surroundings.
enum SystemFiles {
    /// The contents of a small file without the closing newline; `nil` when it cannot be read.
    static func text(_ path: String) -> String? {
        // SAFETY: the path is a Swift string, passed NUL-terminated for the duration of the call.
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { _ = irqmux_close(descriptor) }
        var contents: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            // SAFETY: the buffer lives for this closure and the kernel writes at most its count.
            let count = unsafe chunk.withUnsafeMutableBytes { bytes in
                unsafe read(descriptor, bytes.baseAddress, bytes.count)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            contents += chunk[..<count]
        }
        while contents.last == UInt8(ascii: "\n") { contents.removeLast() }
        return String(decoding: contents, as: UTF8.self)
    }

    /// The whole number in a file; `nil` when there is none.
    static func number(_ path: String) -> Int? { text(path).flatMap { Int($0) } }

    /// The value after `key` in a file of `key: value` lines such as /proc/self/status.
    static func field(_ key: String, of path: String) -> String? {
        guard let text = text(path) else { return nil }
        for line in text.split(separator: "\n") {
            let halves = line.split(separator: ":", maxSplits: 1)
            guard halves.count == 2, trimmed(halves[0]) == key else { continue }
            return trimmed(halves[1])
        }
        return nil
    }

    /// The names in a directory, sorted; empty when there is none.
    static func names(in path: String) -> [String] {
        // SAFETY: opendir takes a NUL-terminated path; the handle is closed on the only way out.
        guard let directory = unsafe opendir(path) else { return [] }
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

    /// Opens and closes `path`; 0, or the errno that stood in the way.
    static func tryOpening(_ path: String) -> Int32 {
        // SAFETY: the path is a Swift string, passed NUL-terminated for the duration of the call.
        let descriptor = unsafe open(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { return errno }
        _ = irqmux_close(descriptor)
        return 0
    }

    /// The value of an environment variable; `nil` when it is not set.
    static func environment(_ name: String) -> String? {
        // SAFETY: nothing in this process changes the environment, so the text stays while it is copied.
        guard let value = unsafe getenv(name) else { return nil }
        // SAFETY: getenv's text is NUL-terminated.
        return unsafe String(cString: value)
    }

    /// `EINVAL` for 22.
    static func errorName(_ number: Int32) -> String {
        // SAFETY: irqmux_errno_name returns a static NUL-terminated text for every number.
        unsafe String(cString: irqmux_errno_name(number))
    }

    private static func trimmed(_ text: Substring) -> String {
        let blank: (Character) -> Bool = { $0 == " " || $0 == "\t" }
        guard let first = text.firstIndex(where: { !blank($0) }), let last = text.lastIndex(where: { !blank($0) })
        else { return "" }
        return String(text[first...last])
    }
}
