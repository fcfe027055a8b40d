internal import InterruptModel

/// Whose rules of SET_IRQS are followed: `linux`, `linux-6.12`, `libvfio-user`.
struct DialectArgument: CustomStringConvertible {
    let dialect: Dialect
    /// As it was typed.
    let description: String

    static let accepted = "linux, a version from linux-6.1 on as in linux-6.12, or libvfio-user"

    init(parsing text: String) throws(UsageError) {
        description = text
        switch text {
        case "linux": dialect = .linux
        case "libvfio-user": dialect = .libvfioUser
        default:
            guard text.hasPrefix("linux-"), let version = Self.version(text.dropFirst("linux-".count)) else {
                throw UsageError("no such dialect; accepted: \(Self.accepted)")
            }
            guard version >= (6, 1) else {
                throw UsageError("its rules were not read; accepted: \(Self.accepted)")
            }
            dialect = .linux(version.0, version.1)
        }
    }

    /// The newest kernel whose rules are known, which the software device speaks too.
    static let newest = DialectArgument(.linux, "linux")

    private init(_ dialect: Dialect, _ description: String) {
        self.dialect = dialect
        self.description = description
    }

    private static func version(_ text: Substring) -> (Int, Int)? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        let isNumber: (Substring) -> Bool = { $0.utf8.allSatisfy((UInt8(ascii: "0")...UInt8(ascii: "9")).contains) }
        guard parts.count == 2, parts.allSatisfy(isNumber), let major = Int(parts[0]), let minor = Int(parts[1])
        else { return nil }
        return (major, minor)
    }
}
