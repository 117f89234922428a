# The method and the sensitivities that are used most are compiled when the package is installed, for every model: SciML's code sees
# `Equations`, whose kernels are compiled for each kind of model on its own.

@setup_workload begin
    values = Dict(:theta_r => 0.078, :theta_s => 0.43, :alpha => 0.036, :n => 1.56, :K_s => 1.04, :specific_storage => 1e-6, :top_head => -75.0,
        :bottom_head => -100.0)
    @compile_workload begin
        m = DiffGeo.Richards([0.0, 2.0, 5.0, 10.0, 20.0]; top="head", bottom="head")
        for sensitivity in ("GaussAdjoint", "ForwardDiff")
            DiffGeo.rehearse(m, Float64, values; method="FBDF", sensitivity)
        end
    end
end
