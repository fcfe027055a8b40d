// swift-tools-version: 6.2
import PackageDescription

// How a program of your own links irqmux; in it, the dependency is
// .package(url: "https://…/irqmux", from: "…") instead of a path.
let package = Package(
    name: "first-interrupt",
    dependencies: [.package(name: "irqmux", path: "../..")],
    targets: [
        .executableTarget(
            name: "first-interrupt",
            dependencies: [
                .product(name: "IRQMux", package: "irqmux"),
                .product(name: "Exerciser", package: "irqmux"),
            ])
    ]
)
