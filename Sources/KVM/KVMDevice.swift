internal import CKernel

/// Owns an open `/dev/kvm`, where virtual machines and capability answers come from.
///
/// Every call may be made from any thread. Source: `<linux/kvm.h>`, Documentation/virt/kvm/api.rst.
@frozen public struct KVMDevice: ~Copyable, Sendable {
    /// The file descriptor's number. Valid as long as this owner lives.
    public let number: Int32

    /// Opens `/dev/kvm`.
    ///
    /// - Throws: `ENOENT` or `ENODEV` where there is none, `EACCES` where it may not be used, `EMFILE`, `ENFILE`, and
    ///   `ENOTTY` for a file of that name that is not KVM.
    public init() throws(KVMError) { try self.init(path: "/dev/kvm") }

    /// Opens another node of the same device, as some containers have it.
    ///
    /// - Throws: As `init()`.
    public init(path: StaticString) throws(KVMError) { number = try KVMDevice.open(path) }

    deinit { _ = irqmux_close(number) }

    /// The number of the API, 12 since Linux 2.6.22; it will not change any more.
    public var apiVersion: Int32 { irqmux_ioctl_value(number, irqmux_KVM_GET_API_VERSION, 0) }

    /// What this kernel's KVM can do.
    public func capabilities() -> KVMCapabilities { KVMCapabilities(asking: number) }

    /// Makes a virtual machine with neither memory, virtual CPUs nor interrupt controllers.
    ///
    /// A signal in between is not an error: `KVM_CREATE_VM` answers `EINTR` to it (it is long on a loaded machine), and
    /// is asked again.
    /// - Throws: `ENOMEM`, `EMFILE`, `ENFILE`; `EBUSY` where another hypervisor holds the processor.
    public func createVirtualMachine() throws(KVMError) -> VirtualMachine {
        var result: Int32
        repeat {
            result = irqmux_ioctl_value(number, irqmux_KVM_CREATE_VM, 0)
        } while result == -EINTR
        guard result >= 0 else { throw KVMError(.createVirtualMachine, errno: -result, .plain(-result)) }
        return VirtualMachine(trusting: result)
    }

    private static func open(_ path: StaticString) throws(KVMError) -> Int32 {
        let result = path.withUTF8Buffer { text in
            // SAFETY: a StaticString's text is NUL-terminated and lives for ever; the wrapper only reads it.
            unsafe text.withMemoryRebound(to: CChar.self) { unsafe irqmux_kvm_open($0.baseAddress) }
        }
        guard result >= 0 else {
            let absent = result == -ENOENT || result == -ENODEV || result == -ENXIO
            throw KVMError(.open, errno: -result, absent ? .noKVM : .plain(-result))
        }
        let version = irqmux_ioctl_value(result, irqmux_KVM_GET_API_VERSION, 0)
        guard version >= 0 else {
            _ = irqmux_close(result)
            throw KVMError(.open, errno: -version, .noKVM)
        }
        return result
    }
}
