import Foundation

/// Whether tests that need a real /dev/kvm run here.
public enum KVMAvailability {
    /// Where it is missing, or may not be opened, such tests are skipped, loudly. In CI (`CI=true`) they are skipped
    /// only where there is truly none: one that may not be opened is then a failure.
    public static let canRun: Bool = {
        let path = "/dev/kvm"
        let files = FileManager.default
        if ProcessInfo.processInfo.environment["CI"] == "true" { return files.fileExists(atPath: path) }
        return files.isReadableFile(atPath: path) && files.isWritableFile(atPath: path)
    }()

    /// What the skip says.
    public static let reason = "needs /dev/kvm, and the right to open it: see irqmux doctor"
}
