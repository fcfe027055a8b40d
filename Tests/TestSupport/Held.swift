/// Holds a noncopyable owner, so that arrays and closures can.
public final class Held<Value: ~Copyable> {
    /// What is held, until this goes.
    public let value: Value

    /// Takes an owner over.
    public init(_ value: consuming Value) { self.value = value }
}
