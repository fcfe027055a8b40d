import Foundation
import MicroGuest

/// Whether tests that need a real /dev/kvm, of an x86-64, run here.
public enum KVMAvailability {
    /// Where it is missing, or may not be opened, such tests are skipped, loudly. In CI (`CI=true`) they are skipped
    /// only where there is truly none: one that may not be opened is then a failure.
    public static let canRun: Bool = {
        guard MicroGuest.isSupported else { return false }
        let path = "/dev/kvm"
        let files = FileManager.default
        if ProcessInfo.processInfo.environment["CI"] == "true" { return files.fileExists(atPath: path) }
        return files.isReadableFile(atPath: path) && files.isWritableFile(atPath: path)
    }()

    /// What the skip says.
    public static let reason = "kvm: /dev/kvm does not open, or this is no x86-64; irqmux doctor says more"
}
