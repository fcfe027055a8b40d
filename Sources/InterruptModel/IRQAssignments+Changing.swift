internal import CKernel

/// A change of a device's assignments failed. What stands afterwards is in the ``IRQAssignments`` it was asked of.
public struct IRQChangeError: Error, Equatable, Sendable {
    /// What the device said of the request that failed; `ENOSPC` where it answered how many vectors could be had.
    public var cause: DeviceError
    /// How many vectors the host has left for the device, where it said so; 0 otherwise.
    public var available: UInt32
    /// The request that failed.
    public var request: IRQRequest
    /// Whether everything is as it was before the change. Where it is not, the device refused to take back what it had.
    public var isRolledBack: Bool
}

extension IRQAssignments {
    /// Errors that come before anything is touched: a bad action, a payload that cannot be read.
    static var untouchedByAction: Int32 { ENOTTY }
    static var untouchedByAddress: Int32 { EFAULT }

    /// Brings `device` from this state to `wanted` in the fewest requests, or back to where it was.
    ///
    /// - Parameters:
    ///   - wanted: A changed copy of this value.
    ///   - device: Whose assignments these are; nobody else may change them meanwhile.
    ///   - rules: What the device's requests can carry; ``IRQPlanRules/init(of:)`` asks it.
    /// - Throws: What the device said. This value then tells what stands: the former state when `isRolledBack`.
    public mutating func change(
        to wanted: IRQAssignments, on device: borrowing some InterruptDevice & ~Copyable, rules: IRQPlanRules
    ) throws(IRQChangeError) {
        try change(to: wanted, rules: rules) { (request) throws(DeviceError) in try device.setInterrupts(request) }
    }

    /// The same for whoever carries requests out by other means.
    ///
    /// - Parameter set: Carries one request out as ``InterruptDevice/setInterrupts(_:)`` does.
    public mutating func change(
        to wanted: IRQAssignments, rules: IRQPlanRules, by set: (IRQRequest) throws(DeviceError) -> UInt32
    ) throws(IRQChangeError) {
        let former = self
        guard let (request, cause, available) = carryOut(IRQPlan(from: self, to: wanted, rules), set) else { return }
        let isRolledBack = carryOut(IRQPlan(from: self, to: former, rules), set) == nil
        throw IRQChangeError(cause: cause, available: available, request: request, isRolledBack: isRolledBack)
    }

    /// Carries requests out until one fails; `nil` when none did.
    private mutating func carryOut(
        _ plan: IRQPlan, _ set: (IRQRequest) throws(DeviceError) -> UInt32
    ) -> (request: IRQRequest, cause: DeviceError, available: UInt32)? {
        for request in plan.requests {
            do throws(DeviceError) {
                let available = try set(request)
                guard available == 0 else {
                    failed(request)
                    let cause = DeviceError(
                        "SET_IRQS", errno: ENOSPC, remedy: "the host has fewer vectors left: ask for fewer")
                    return (request, cause, available)
                }
                succeeded(request)
            } catch {
                failed(request, errno: error.errno)
                return (request, error, 0)
            }
        }
        return nil
    }
}
