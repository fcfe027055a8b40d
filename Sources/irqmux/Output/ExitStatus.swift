internal import EventRing
internal import HostDevices
internal import IRQMux
internal import InterruptModel
internal import KVM
internal import VFIO

/// What the process says on its way out. Scripts read it: the numbers never change (`irqmux --help`).
enum ExitStatus: Int32 {
    /// Everything asked for was done and held.
    case success = 0
    /// A check failed or a threshold was breached.
    case checkFailed = 1
    /// An internal or I/O error.
    case failure = 2
    /// What was typed cannot be meant: EX_USAGE of sysexits.h.
    case usage = 64
    /// The machine lacks something: EX_UNAVAILABLE of sysexits.h.
    case unavailable = 69
    /// Everything was skipped: the convention of automake and of liburing's tests.
    case skipped = 77
}

/// A command ends early: one line for stderr and the status that goes with it.
struct CommandFailure: Error, Equatable, CustomStringConvertible {
    let status: ExitStatus
    let description: String

    init(_ status: ExitStatus, _ description: String) {
        self.status = status
        self.description = description
    }
}

extension CommandFailure {
    /// The line and the status for an error of any room: operation, errno and remedy.
    init?(_ error: any Error) {
        switch error {
        case let failure as CommandFailure: self = failure
        case let error as MuxError: self.init(.failure, error.description)
        case let error as RingError: self.init(.failure, error.description)
        case let error as KVMError: self.init(.failure, error.description)
        case let error as VFIOError: self.init(error.isObstacle ? .unavailable : .failure, error.description)
        case let error as HostError: self.init(error)
        case let error as DeviceError:
            let head = "\(error.operation): \(SystemFiles.errorName(error.errno))"
            let remedy = "\(error.remedy)"
            self.init(.failure, remedy.isEmpty ? head : "\(head): \(remedy)")
        default: return nil
        }
    }
}

extension CommandFailure {
    /// What could not be done to a device of the host: what was typed cannot be meant, or the machine lacks something.
    init(_ error: HostError) {
        let status: ExitStatus =
            switch error.kind {
            case .request: .usage
            case .machine: .unavailable
            case .failure: .failure
            }
        self.init(status, error.description)
    }
}

extension VFIOError {
    /// Whether the machine, and not irqmux, stands in the way.
    var isObstacle: Bool { reason != .unknown && reason != .noMemory && reason != .notADevice }
}
