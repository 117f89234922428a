using Aqua, Pkg

# looking for tasks that never end installs the package, which needs a registry
Aqua.test_all(DiffGeo; persistent_tasks=!isempty(Pkg.Registry.reachable_registries()))
