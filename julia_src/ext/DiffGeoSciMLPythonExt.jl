"""
Compiles what users of SciML's methods call first, where Python is.

PythonCall adds methods like `>(::Py, ::Number)`, after which nearly all that was compiled for SciML's code, in which many types are not
inferred, counts as outdated. So it is compiled here, with PythonCall loaded. What SciML calls does not know the model's type
(`Equations`): only the kernels are compiled for each kind of model.
"""
module DiffGeoSciMLPythonExt

using DiffGeo: DiffGeo
using PrecompileTools: @compile_workload, @setup_workload
using PythonCall: PythonCall

@setup_workload begin
    values = Dict(:theta_r => 0.078, :theta_s => 0.43, :alpha => 0.036, :n => 1.56, :K_s => 1.04, :pore_connectivity => 0.5,
        :specific_storage => 1e-6, :top_head => -75.0, :bottom_head => -100.0)
    @compile_workload begin
        m = DiffGeo.Richards([0.0, 2.0, 5.0, 10.0, 20.0]; top="head", bottom="head")
        for sensitivity in ("GaussAdjoint", "ForwardDiff")
            DiffGeo.rehearse(m, Float64, values; method="FBDF", sensitivity)
        end
    end
end

end
