/// Ways of being wrong, each of which somebody's project once was: the simulator has to find every one of them.
public enum Mutation: String, CaseIterable, Sendable {
    /// What was kept while a vector was masked is forgotten when it is unmasked.
    case dropsPendingOnUnmask
    /// The function mask is ignored (libvfio-user 806 and 807, OpenVMM's message control).
    case ignoresFunctionMask
    /// Pending bits always read 0 (cloud-hypervisor 7813, libvfio-user 807).
    case pendingBitsAlwaysRead0
    /// The bits of vectors that may be delivered are told as well.
    case pendingBitsOfUnmasked
    /// A masked vector keeps going past the mux (cloud-hypervisor's masking of one live vector).
    case masksOnlyInTheTable
    /// Masking removes the route of a bound irqfd (cloud-hypervisor 795).
    case masksByRemovingTheRoute
    /// A new message is not in KVM's routes when the vector goes past the mux.
    case usesAStaleRoute
    /// Vectors are taken down with DATA_NONE and a count, which fires them (OpenVMM 3778).
    case firesInsteadOfDisabling
    /// A listening that ended with an overflow is not begun again (silk 80).
    case staysDeafAfterOverflow
    /// Growth by switching off and on forgets what pended in the device.
    case growthLosesPending
    /// Restored state lacks what pended.
    case losesPendingOnRestore
    /// Nothing is kicked after a restore (SPDK 2410).
    case noKickAfterRestore
    /// A refused eventfd is taken for success (a positive answer or an errno that nobody looks at).
    case ignoresRefusals
    /// The repair after a reset behind VFIO's back is left out.
    case noRepairAfterBackdoorReset
    /// What comes while a vector is between two loops is handed out there.
    case deliversWhileHalted
    /// Pending and new signals are told as two interrupts.
    case deliversTwice
    /// The end of an interrupt does not unmask the device (cloud-hypervisor 4999, hermit 2611).
    case forgetsToUnmask
    /// Only one of the devices on a shared line is unmasked.
    case unmasksOneOfTheLine
    /// The device is unmasked before its pin goes low, and a level that comes in between is lost.
    case unmasksBeforeLowering
    /// A guest's DisINTx is kept to itself.
    case ignoresDisINTx
    /// Signals of a function that was reset are handed out afterwards.
    case survivesReset
}
