// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "micro-vmm",
    dependencies: [.package(name: "irqmux", path: "../..")],
    targets: [
        .executableTarget(
            name: "micro-vmm",
            dependencies: [
                .product(name: "IRQMux", package: "irqmux"),
                .product(name: "Exerciser", package: "irqmux"),
                .product(name: "MicroGuest", package: "irqmux"),
            ])
    ]
)
