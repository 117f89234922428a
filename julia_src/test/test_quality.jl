using Aqua, Pkg

# looking for tasks that never end installs the package, which needs a registry
Aqua.test_all(DiffGeo; persistent_tasks=!isempty(Pkg.Registry.reachable_registries()))

# Where it is installed; nothing else needs it
jet = Base.find_package("JET") === nothing ? nothing : Base.require(Main, :JET)
jet === nothing || jet.test_package(DiffGeo; target_modules=(DiffGeo,))
